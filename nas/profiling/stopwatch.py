"""Throughput by stopwatch: images per second of a deployed model, stated so that somebody else can repeat it.

Disputes about throughput come from a missing warm-up, autograd left on, or a device that was not waited for. Here:
inference mode, warm-up until the clock settles, the device synchronised around every batch, the median over batches
(one slow batch is the machine's, not the model's), and the conditions returned with the number.
Measure where nothing else runs; a fraction of a GPU is never alone. Even then a processor's clock moves with heat and,
where it is shared, with its neighbours, by tens of percent within minutes: models that are to be compared take turns
(`throughputs`), so that a slow minute slows all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from nas.model import Model, deploy

TURNS = 5  # of calls that are compared, and so the batches that are timed at least


@dataclass(frozen=True)
class Throughput:
    """Images per second with the conditions it was measured under."""

    images_per_second: float
    median_seconds: float  # of one batch; of models that are compared, at the pace that `throughputs` says
    batch_size: int
    batches: int
    device: str
    dtype: str
    threads: int
    compiled: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def throughput(
    model: Model,
    *,
    batch_size: int = 64,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    threads: int | None = None,
    compile: bool = False,
    seconds: float = 0.5,
) -> Throughput:
    """Images per second of `deploy(model)` on random images of the genome's size.

    seconds: how long to measure; at least 5 batches are timed whatever it says. threads: of torch on the CPU.

    >>> throughput(build("deit_tiny"), batch_size=8).images_per_second
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        call = _served(model, batch_size, device, dtype, compile)
        with torch.inference_mode():
            (times,) = timed(call, device=device, seconds=seconds)
        used = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    median = statistics.median(times)
    kind = str(dtype).removeprefix("torch.")
    return Throughput(batch_size / median, median, batch_size, len(times), _name(device), kind, used, compile)


def throughputs(
    models: Iterable[Model], *, batch_size: int = 64, device: str = "cpu", seconds: float = 0.5
) -> list[Throughput]:
    """`throughput` of models that are to be compared: each takes turns with the first of them.

    What is stated is the ratio to the first one's time in the same turns, at the pace that the first one has by itself:
    two models that take turns are slower than one, by as much. No more than two are deployed at a time, so `models` may
    as well be made one by one. seconds: of each model, and of the first one beside each.

    >>> throughputs([build("deit_tiny"), build("castling_deit_tiny")], batch_size=8)
    """
    rest = iter(models)
    head = next(rest, None)
    if head is None:
        return []
    with torch.inference_mode():
        first = _served(head, batch_size, device)
        pairs = [timed(first, _served(model, batch_size, device), device=device, seconds=seconds) for model in rest]
        (alone,) = timed(first, device=device, seconds=seconds)
    pace = statistics.median(alone)
    found = [(pace, len(alone))]
    found += [(pace * statistics.median(own) / statistics.median(base), len(own)) for base, own in pairs]
    shared = (_name(device), "float32", torch.get_num_threads(), False)
    return [Throughput(batch_size / median, median, batch_size, batches, *shared) for median, batches in found]


def _served(
    model: Model, batch_size: int, device: str, dtype: torch.dtype = torch.float32, compile: bool = False
) -> Callable[[], object]:
    """One batch of random images through the deployed model."""
    served: nn.Module = deploy(model).to(device=device, dtype=dtype)
    if compile:
        served = torch.compile(served)  # type: ignore[assignment]
    image = model.genome.image
    images_BCHW = torch.randn(batch_size, image.channels, image.size, image.size, device=device, dtype=dtype)
    return lambda: served(images_BCHW)


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device


def timed(*calls: Callable[[], object], device: str = "cpu", seconds: float = 0.5) -> list[list[float]]:
    """Wall-clock seconds of each call, over about `seconds` and at least `TURNS` times; the calls take turns.

    Each warms up for a fifth of that, two calls at least. Of several, the first call of a turn is not counted: it finds
    the caches as another model left them.
    """

    def once(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    for call in calls:
        warm = 0.0
        for turn in range(1000):
            warm += once(call)
            if turn >= 1 and warm > seconds / 5:
                break
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(1, TURNS + 1):
        for call, found in zip(calls, times, strict=True):
            if len(calls) > 1:
                once(call)
            while len(found) < turn or sum(found) < seconds * turn / TURNS:
                found.append(once(call))
    return times
