"""Milliseconds that a search predicts, against the stopwatch and against the GPU's own clock (CUDA events).

    predicted    the sum of a genome's parts in the table (nas/profiling/latency.py)
    stopwatch    whole models in turns with the base (nas/profiling/stopwatch.py)
    events       between two events in the stream of the model; the device is synchronised after each batch
    queued       the same, with all batches queued at once: what the kernels alone need

The genomes are of the space, and others than those that the table was made of. Events well above `queued` say that a
model waits for its launches. On a CPU, time.perf_counter stands for events, and nothing is judged.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

import torch

from benchmarks.gpu.check import Found, Place
from nas.model import build
from nas.profiling import covering
from nas.profiling.fit import distinct
from nas.profiling.latency import LatencyTable
from nas.profiling.stopwatch import disturbance, in_turns, served
from nas.search import load_space

SPACES: dict[str, dict[str, Any]] = {"lavit_split": {}, "mixed": {"base": "mixed_micro_32"}}
BATCHES = (1, 64)
GENOMES = 5
BAR = 0.10  # on the medians over the genomes of a space and batch size
REPEATS = 50


def event_timing(place: Place) -> Found:
    """Two bars for each space and batch size: predictions within 10 % of the stopwatch, and the stopwatch of events."""
    spaces = {"lavit_split": {}} if place.rehearsal else SPACES
    batches = (8,) if place.rehearsal else BATCHES
    rows = [row for name, keys in spaces.items() for size in batches for row in _rows(name, keys, size, place)]
    found, wrong = judged(rows)
    text = ", ".join(f"{at}: {each['predicted']:.1%} and {each['stopwatch']:.1%}" for at, each in found.items())
    text = f"predictions off the stopwatch, and the stopwatch off events: {text} (medians, bar {BAR:.0%})"
    return Found(text, [] if place.rehearsal else wrong, {"bar": BAR, "errors": found, "rows": rows})


def judged(rows: list[dict[str, Any]]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The median errors at each space and batch size, and what is above the bar."""
    found: dict[str, dict[str, float]] = {}
    wrong = []
    for at in dict.fromkeys(row["at"] for row in rows):
        here = [row for row in rows if row["at"] == at]
        found[at] = {}
        for what, against in (("predicted", "stopwatch"), ("stopwatch", "events")):
            error = statistics.median(abs(row[what] / row[against] - 1) for row in here)
            found[at][what] = error
            if not error <= BAR:
                wrong.append(f"{at}: {what} is {error:.1%} off {against}")
    return found, wrong + sorted({row["disturbed"] for row in rows if row["disturbed"]} if wrong else [])


def _rows(name: str, keys: dict[str, Any], size: int, place: Place) -> list[dict[str, Any]]:
    spec = load_space(name).with_settings(keys)
    space = spec.space(spec.genome())
    sample = partial(space.sample, Random(0))
    known = list(covering(space.base, sample))
    genomes = distinct(sample, 2 if place.rehearsal else GENOMES, known)
    table = LatencyTable.measure(known, space.base, batch_size=size, device=place.device)
    calls = [served(build(genome), size, place.device) for genome in [space.base, *genomes]]
    with torch.inference_mode():
        watched = in_turns(calls, device=place.device)[1:]
        events = [milliseconds(call, place.device) for call in calls[1:]]
    return [
        {
            "at": f"{name}, batch {size}",
            "genome": genome.hash,
            "predicted": 1000 * table.seconds_of(genome),
            "stopwatch": 1000 * stopwatch.median,
            "events": alone,
            "queued": queued,
            "disturbed": disturbance([stopwatch]),
        }
        for genome, stopwatch, (alone, queued) in zip(genomes, watched, events, strict=True)
    ]


def milliseconds(call: Callable[[], object], device: str) -> tuple[float, float]:
    """The median milliseconds of a call by the device's clock: synchronised after each one, and queued."""
    for _ in range(REPEATS // 5):
        call()
    if device == "cpu":
        stamps = [(time.perf_counter(), call(), time.perf_counter()) for _ in range(REPEATS)]
        median = statistics.median(1000 * (end - begin) for begin, _, end in stamps)
        return median, median
    return _between_events(call, wait=True), _between_events(call, wait=False)


def _between_events(call: Callable[[], object], *, wait: bool) -> float:
    pairs = []
    torch.cuda.synchronize()
    for _ in range(REPEATS):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        pairs.append((begin, end))
        if wait:
            torch.cuda.synchronize()
    torch.cuda.synchronize()
    return statistics.median(begin.elapsed_time(end) for begin, end in pairs)
