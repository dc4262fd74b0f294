"""A search's own cost at 10,000 trials: seconds a suggestion, seconds in all, and memory, against the count of trials.

The product's search without Ray and without training (simulated.py): sampler, `Searcher`, the ledger with its
directory per trial (in memory where the system has such a place), trials.csv rewritten as often as the engine does it.
The accuracy is a formula. The space has 7 layers with a core each and a continuous rate, so that genomes do not run
out. Each sampler runs in a process of its own, one after the other. Seconds are CPU seconds of that process, which
computes on one core and waits for nothing: what else the machine does is not in them. Memory is the process's peak
(VmHWM of Linux) beyond what it was before the search.

The slope is that of log seconds in all over log trials, from a tenth of the trials on: 1 is linear, 2 is quadratic. A
sampler that converges suggests known genomes, each of which is asked for anew (at most 10 times a trial,
nas/search/candidates.py). So there is a slope over suggestions as well, with these counted: that of the sampler alone.
TPE looks at all trials to make a suggestion: it is run to fewer, without a bar, to say what it costs.
"""

from __future__ import annotations

import itertools
import math
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random
from statistics import linear_regression
from typing import Any

from benchmarks.contest import met
from benchmarks.machine import Setting
from benchmarks.simulated import candidates, finished, scratch
from nas.engine import Job, JobSource, Ledger, Outcome, Signal
from nas.metrics import estimator
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.samplers import sampler_options

TRIALS = {"random": 10_000, "nsga2": 10_000, "cost_aware": 10_000, "tpe": 2_000}
_BAR = {"random": 1.1, "nsga2": 1.1}
_SUGGESTION = {"cost_aware": {1_000: 30.0, 10_000: 300.0}}  # ms, at most
_LIMIT = {  # measured with a profiler: 4,000 trials take 11,369 suggestions
    "nsga2": "a population that converges suggests known genomes ever more often; over suggestions the slope is within "
    "the bar"
}
_MARKS = (100, 200, 500, 1_000, 2_000, 5_000, 10_000)
_SHOWN = (100, 1_000, 2_000, 10_000)
_FIGURES = [("ms a suggestion", "suggestion", 1e3), ("seconds in all", "seconds", 1.0), ("MB", "bytes", 1e-6)]
_STATUS = Path("/proc/self/status")
_SPACE = """
base: mixed_digits
parameters:
  stages.{0,1}.layers.0.core: {choice: [softmax, linear_angular]}
  stages.0.layers.{1,2}.core: {choice: [softmax, less, linear_angular]}
  stages.1.layers.{1..3}.core: {choice: [softmax, less, linear_angular]}
  drop_path: {float: [0.0, 0.3]}
"""


def run(setting: Setting) -> list[dict[str, Any]]:
    """One result with the figures of every sampler, and a row about the slope of each."""
    measured = {}
    for sampler, count in TRIALS.items():
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            measured[sampler] = process.submit(searched, sampler, count).result()
    return [result(measured)]


def result(measured: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """The figures of `searched` per sampler as a curve for each figure and a row for each slope."""
    last = max(points[-1]["trials"] for points in measured.values())
    marks = [mark for mark in _SHOWN if mark <= last]
    curves = [
        _curve(f"{sampler}, {what}", key, scale, points, marks)
        for (sampler, points), (what, key, scale) in itertools.product(measured.items(), _FIGURES)
    ]
    rows = [_row(sampler, points, over) for sampler, points in measured.items() for over in ("trials", "suggestions")]
    rows += [row for sampler, points in measured.items() for row in _suggestion_rows(sampler, points)]
    return {"at": "a search without training", "marks": marks, "figures": measured, "curves": curves, "rows": rows}


def searched(sampler: str, trials: int) -> list[dict[str, float]]:
    """One search; after so many trials: seconds in all, seconds a suggestion since the last mark, bytes of memory."""
    spec = space_of(sampler, trials)
    space = spec.space(spec.genome())
    marks = [mark for mark in _MARKS if mark < trials] + [trials]
    found: list[dict[str, float]] = []
    with scratch() as folder:
        ledger = Ledger(folder)
        before = peak_bytes()
        source = _Timed(candidates(spec, space, ledger, estimator()))
        begin, spent, since, asked = time.process_time(), 0.0, 0, 0
        for count, job in enumerate(finished(source, ledger, outcome), start=1):
            asked = max(asked, job.note["draw"] + 1)
            ledger.write_table(patience=20)
            if count == marks[len(found)]:
                suggestion = (source.seconds - spent) / (count - since)
                seconds, memory = time.process_time() - begin, peak_bytes() - before
                point = {"trials": count, "suggestions": asked, "seconds": seconds, "bytes": memory}
                found.append(point | {"suggestion": suggestion})
                spent, since = source.seconds, count
    return found


def slope(points: Sequence[dict[str, float]], over: str = "trials") -> float:
    """Of log seconds over log trials (or suggestions), from a tenth of the trials on."""
    late = [point for point in points if point["trials"] >= points[-1]["trials"] / 10]
    return linear_regression([math.log(p[over]) for p in late], [math.log(p["seconds"]) for p in late]).slope


class _Timed:
    """A source, and the seconds that went into asking it for jobs."""

    def __init__(self, source: JobSource):
        self.source, self.seconds = source, 0.0

    def next(self) -> Job | Signal:
        begin = time.process_time()
        answer = self.source.next()
        self.seconds += time.process_time() - begin
        return answer

    def unfinished(self) -> list[Job]:
        return self.source.unfinished()

    def tell(self, job: Job, outcome: Outcome) -> None:
        self.source.tell(job, outcome)


def space_of(sampler: str, trials: int) -> SearchSpec:
    """7 layers with a core each, and a continuous rate."""
    spec = SearchSpec.parse(parse_yaml(_SPACE))
    return spec.model_copy(update={"sampler": sampler_options(sampler), "trials": trials})


def outcome(job: Job, epochs: int = 1) -> Outcome:
    """More attention is better, a drop rate of 0.1 is best, seeds differ a little."""
    softmax = sum(core == "softmax" for core in job.parameters.values())
    accuracy = 0.8 + 0.02 * softmax - abs(job.parameters["drop_path"] - 0.1) + Random(job.seed).random() / 100
    return Outcome.of(job, "complete", accuracy=accuracy, epochs=epochs)


def peak_bytes() -> int:
    """The most memory that this process has held."""
    return status_bytes("VmHWM")


def status_bytes(key: str) -> int:
    """An entry of Linux's account of this process."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])


def _row(sampler: str, points: list[dict[str, float]], over: str) -> dict[str, Any]:
    bar, value, last = _BAR.get(sampler), slope(points, over), round(points[-1]["trials"])
    return {
        "what": f"{sampler}, log-log slope of seconds in all over {over}",
        "against": "—",
        "at": f"{last // 10:,}…{last:,} trials",
        "about": "slope",
        "bar": bar,
        "upper": True,
        "ratio": {"value": value, "low": None, "high": None},
        "met": met(value, bar, True),
        "limit": _LIMIT.get(sampler, ""),
    }


def _suggestion_rows(sampler: str, points: list[dict[str, float]]) -> list[dict[str, Any]]:
    """Milliseconds a suggestion, where they have a bar."""
    by_trials = {point["trials"]: 1e3 * point["suggestion"] for point in points}
    return [
        {
            "what": f"{sampler}, ms a suggestion",
            "against": "—",
            "at": f"{count:,} trials",
            "about": "overhead",
            "bar": bar,
            "upper": True,
            "ratio": {"value": by_trials[count], "low": None, "high": None},
            "met": met(by_trials[count], bar, True),
            "limit": "",
        }
        for count, bar in _SUGGESTION.get(sampler, {}).items()
        if count in by_trials
    ]


def _curve(what: str, key: str, scale: float, points: list[dict[str, float]], marks: Sequence[int]) -> dict[str, Any]:
    by_trials = {point["trials"]: scale * point[key] for point in points}
    values = [{"value": by_trials[m], "low": None, "high": None} if m in by_trials else None for m in marks]
    return {"what": what, "note": "", "values": values, "differences": None}
