"""Stopwatch and memory gauge of the benchmarks.

Contenders take turns call by call, in an order that is reversed every other round, so that a machine that slows down
slows all of them down. A short call is repeated within its turn until the turn takes 2 ms. The figure is the median
turn; a ratio is the ratio of medians, its interval a bootstrap over rounds (each resample keeps the rounds paired).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

Call = Callable[[], object]
_TURN_SECONDS = 0.002


@dataclass(frozen=True)
class Ratio:
    """`value` = median(times of the one) / median(times of the other), with its 95 % interval."""

    value: float
    low: float
    high: float


def interleaved(calls: Mapping[str, Call], *, device: str, seconds: float, least: int) -> dict[str, list[float]]:
    """Seconds per call of each contender, a value a round: at least `least` rounds, and about `seconds` in all."""
    repeats = {}
    for name, call in calls.items():
        _timed(call, 1, device)  # the first call allocates, and compiles where there is something to compile
        repeats[name] = max(1, round(_TURN_SECONDS / max(_timed(call, 1, device), 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    started = time.perf_counter()
    while len(times[order[0]]) < least or time.perf_counter() - started < seconds:
        for name in order:
            times[name].append(_timed(calls[name], repeats[name], device))
        order.reverse()
    return times


def ratio(times: list[float], others: list[float]) -> Ratio:
    """Median of `times` over median of `others`, of the same rounds.

    >>> ratio([2.0, 2.0], [1.0, 1.0])
    Ratio(value=2.0, low=2.0, high=2.0)
    """
    rounds = np.random.default_rng(0).integers(len(times), size=(1000, len(times)))
    drawn = np.median(np.array(times)[rounds], 1) / np.median(np.array(others)[rounds], 1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Ratio(statistics.median(times) / statistics.median(others), float(low), float(high))


def peak_bytes(call: Call, *, device: str) -> int:
    """Most bytes that `call` holds at once beyond what is allocated before it, kernels' scratch memory included.

    On the CPU the allocator's own events are added up; memory that a library takes for itself (MKL, oneDNN) is not
    among them.
    """
    call()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return max(0, int(held.max(initial=0)))


def _timed(call: Call, repeats: int, device: str) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - start) / repeats
