"""Throughput by stopwatch: images per second of a deployed model, returned with the conditions of the measurement.

Common errors are missing warm-up, autograd left on, and missing synchronisation. Here: inference mode, warm-up, the
device synchronised after every batch, and the median over batches, which ignores single slow ones.

Measure on an idle machine and a whole GPU. Even then, clock frequency varies with temperature and, on shared hardware,
with other load, by tens of percent within minutes. Models that are to be compared are therefore run in alternation
(`throughputs`): a slow minute then affects all of them.

Other work on the same cores does not slow all batches alike: the threads of a batch wait for each other, and some
batches take ten times as long. `spread` tells: the median over the fastest tenth. Where it is above `BUSY`, all is
timed once more, for longer, and the steadier of both counts. Callers say so if it is still above (`disturbance`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nas.device import torch_threads
from nas.model import Model, deploy
from nas.torch_state import generators_kept

BUSY = 1.5  # spread above which times are not to be trusted; about 1.1 on a quiet machine
TURNS = 5  # rounds of alternation; also the minimum number of timed batches


@dataclass(frozen=True)
class Throughput:
    """Images per second and the conditions of the measurement."""

    images_per_second: float
    median_seconds: float  # of one batch; see `throughputs` for compared models
    batch_size: int
    batches: int
    device: str
    dtype: str
    threads: int
    compiled: bool
    spread: float = 1.0  # median over fastest tenth, of the compared models as well

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@generators_kept()
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

    seconds: how long to measure; at least 5 batches are timed. threads: of torch on the CPU.

    >>> throughput(build("deit_tiny"), batch_size=8).images_per_second
    """
    with torch_threads(threads):
        call = served(model, batch_size, device, dtype, compile)
        with torch.inference_mode():
            (times,), spread = _steady(call, device=device, seconds=seconds)
        used = torch.get_num_threads()
    median = statistics.median(times)
    kind = str(dtype).removeprefix("torch.")
    return Throughput(batch_size / median, median, batch_size, len(times), _name(device), kind, used, compile, spread)


def throughputs(
    models: Iterable[Model], *, batch_size: int = 64, device: str = "cpu", seconds: float = 0.5
) -> list[Throughput]:
    """`throughput` of models that are to be compared: each is run in alternation with the first.

    Alternation slows both models of a pair equally. The result for a model is therefore its time as a ratio to the
    first one's in the same pair, times the first one's time without alternation. At most two models are deployed at a
    time; `models` may be a generator. seconds: per model, and again for the first one in each pair.

    >>> throughputs([build("deit_tiny"), build("castling_deit_tiny")], batch_size=8)
    """
    calls = (served(model, batch_size, device) for model in models)
    with torch.inference_mode():
        found = in_turns(calls, device=device, seconds=seconds)
    shared = (_name(device), "float32", torch.get_num_threads(), False)
    return [
        Throughput(batch_size / each.median, each.median, batch_size, each.batches, *shared, each.spread)
        for each in found
    ]


class Timing(NamedTuple):
    """The median seconds of a call, the number of calls timed, and their spread (see `Throughput`)."""

    median: float
    batches: int
    spread: float


def in_turns(calls: Iterable[Callable[[], object]], *, device: str = "cpu", seconds: float = 0.5) -> list[Timing]:
    """The time of each call, all but the first in multiples of the first one's in the same pair; see `throughputs`.

    Two calls are held at a time. device: is synchronised after each call.

    >>> in_turns([lambda: sum(range(1000)), lambda: sum(range(9000))])[1].median
    """
    rest = iter(calls)
    first = next(rest, None)
    if first is None:
        return []
    pairs = [_steady(first, call, device=device, seconds=seconds) for call in rest]
    (unpaired,), alone = _steady(first, device=device, seconds=seconds)
    pace = statistics.median(unpaired)
    found = [Timing(pace, len(unpaired), alone)]
    for (base, own), spread in pairs:
        found.append(Timing(pace * statistics.median(own) / statistics.median(base), len(own), max(spread, alone)))
    return found


def _steady(*calls: Callable[[], object], device: str, seconds: float) -> tuple[list[list[float]], float]:
    """`timed`, again for twice as long if other work disturbed it; with the spread of what counts."""
    found = timed(*calls, device=device, seconds=seconds)
    if _spread(found) > BUSY:
        found = min(found, timed(*calls, device=device, seconds=2 * seconds), key=_spread)
    return found, _spread(found)


def _spread(times: list[list[float]]) -> float:
    """The largest median over fastest tenth, of the calls."""
    return max(statistics.median(each) / sorted(each)[len(each) // 10] for each in times)


def disturbance(found: Iterable[Throughput | Timing]) -> str | None:
    """What to tell the user where other work disturbed a measurement; None where it was quiet."""
    spread = max((each.spread for each in found), default=1.0)
    if spread <= BUSY:
        return None
    batches = f"batches in the middle took {spread:.1f} times as long as the fastest tenth"
    return f"timing was disturbed by other work: {batches}; measured times may be far off"


def served(
    model: Model, batch_size: int, device: str, dtype: torch.dtype = torch.float32, compile: bool = False
) -> Callable[[], object]:
    """A call that runs one batch of random images through the deployed model."""
    deployed = deploy(model).to(device=device, dtype=dtype)
    run: Callable[[Tensor], object] = torch.compile(deployed) if compile else deployed
    image = model.genome.image
    images_BCHW = torch.randn(batch_size, image.channels, image.size, image.size, device=device, dtype=dtype)
    return lambda: run(images_BCHW)


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device


def timed(*calls: Callable[[], object], device: str = "cpu", seconds: float = 0.5) -> list[list[float]]:
    """Wall-clock seconds of each call, over about `seconds` and at least `TURNS` repetitions, in alternation.

    Each call is warmed up for a fifth of that time, at least twice. With several calls, the first repetition of each
    turn is not counted: it finds the caches filled by another model.
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
