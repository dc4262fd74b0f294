"""Throughput by stopwatch: images per second of a deployed model, stated so that somebody else can repeat it.

Disputes about throughput come from a missing warm-up, autograd left on, or a device that was not waited for. Here:
inference mode, warm-up until the clock settles, the device synchronised around every batch, the median over batches
(one slow batch is the machine's, not the model's), and the conditions returned with the number.
Measure where nothing else runs; a fraction of a GPU is never alone. Even then a processor's clock moves with heat and,
where it is shared, with its neighbours, by tens of percent within minutes: models that are to be compared take turns,
batch by batch (`throughputs`), so that a slow minute slows all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from nas.model import Model, deploy


@dataclass(frozen=True)
class Throughput:
    """Images per second with the conditions it was measured under."""

    images_per_second: float
    median_seconds: float  # of one batch
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
    conditions = {"batch_size": batch_size, "device": device, "dtype": dtype, "threads": threads, "compile": compile}
    return throughputs([model], seconds=seconds, **conditions)[0]  # type: ignore[arg-type]


def throughputs(
    models: Sequence[Model],
    *,
    batch_size: int = 64,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    threads: int | None = None,
    compile: bool = False,
    seconds: float = 0.5,
) -> list[Throughput]:
    """`throughput` of models that take turns, batch by batch. All are on the device at once.

    >>> throughputs([build("deit_tiny"), build("castling_deit_tiny")], batch_size=8)
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        calls = [_call(model, batch_size, device, dtype, compile) for model in models]
        with torch.inference_mode():
            times = timed(*calls, device=device, seconds=seconds)
        used = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)
    name = torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device
    shared = (name, str(dtype).removeprefix("torch."), used, compile)
    medians = [statistics.median(found) for found in times]
    return [
        Throughput(batch_size / median, median, batch_size, len(found), *shared)
        for median, found in zip(medians, times, strict=True)
    ]


def _call(model: Model, batch_size: int, device: str, dtype: torch.dtype, compile: bool) -> Callable[[], object]:
    served: nn.Module = deploy(model).to(device=device, dtype=dtype)
    if compile:
        served = torch.compile(served)  # type: ignore[assignment]
    image = model.genome.image
    images_BCHW = torch.randn(batch_size, image.channels, image.size, image.size, device=device, dtype=dtype)
    return lambda: served(images_BCHW)


def timed(*calls: Callable[[], object], device: str = "cpu", seconds: float = 0.5, least: int = 5) -> list[list[float]]:
    """Wall-clock seconds of each call, which take turns over about `seconds` for each of them, `least` rounds at least.

    Before, each warms up for a fifth of that, two calls at least.
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
    rounds: list[list[float]] = []
    while len(rounds) < least or sum(map(sum, rounds)) < seconds * len(calls):
        rounds.append([once(call) for call in calls])
    return [list(times) for times in zip(*rounds, strict=True)]
