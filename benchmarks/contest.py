"""A contest: contenders that compute on the same input in turns, and the claims that their times decide.

A claim says that the best of `ours` is at least `bar` times as fast as the best of `theirs` (with `upper`: takes at
most `bar` times as long). A claim without a bar is reported all the same, and so are forward + backward and peak memory
of every claim, which no bar is set for unless the contest is about training (`train`).
Contenders that are compiled take part in the inference contest alone; training and memory compare the eager graphs.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.machine import Setting
from benchmarks.measure import Call, Ratio, interleaved, peak_bytes, ratio


class Work(NamedTuple):
    """A module whose forward returns one tensor, and what it is called with. All are moved to the setting's device."""

    module: nn.Module
    inputs: tuple[Tensor, ...]
    compiled: bool = False


@dataclass(frozen=True)
class Claim:
    """`ours`, `theirs`: names of contenders; of several, the fastest counts. `limit`: said where the bar is missed."""

    what: str
    against: str
    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    bar: float | None = None
    upper: bool = False
    limit: str = ""


@dataclass(frozen=True)
class Contest:
    """`at`: the sizes in words. Contenders are built when their turn comes, as the larger ones should not coexist."""

    at: str
    contenders: dict[str, Callable[[], Work]]
    claims: list[Claim]
    train: bool = False  # the bars are about forward + backward
    training: bool = True  # measure forward + backward at all


def run_contest(contest: Contest, setting: Setting) -> dict[str, Any]:
    """The result as JSON data: median seconds of every contender, and a row for every claim."""
    torch._dynamo.reset()  # its limit on recompilations is per line of code, and contests share theirs
    works = {name: _placed(build(), setting) for name, build in contest.contenders.items()}
    compiled = {name for name, work in works.items() if work.compiled}
    if setting.compile:
        works, compiled = {name: work for name, work in works.items() if name not in compiled}, set()
    graphs = {
        name: torch.compile(work.module, dynamic=False) if setting.compile or name in compiled else work.module
        for name, work in works.items()
    }
    dropped = {name: reason for name in compiled if (reason := _refusal(graphs[name], works[name]))}
    forwards = {name: _forward(graphs[name], works[name]) for name in works if name not in dropped}
    steps = {name: _step(graphs[name], works[name]) for name in works if name not in compiled and contest.training}

    measure = {"device": setting.device, "least": setting.least, "seconds": setting.seconds}
    times = interleaved(forwards, **measure)  # type: ignore[arg-type]
    step_times = interleaved(steps, **measure | {"least": 3}) if steps else {}  # type: ignore[arg-type]
    peaks = {name: peak_bytes(forwards[name], device=setting.device) for name in forwards if name not in compiled}
    step_peaks = {name: peak_bytes(step, device=setting.device) for name, step in steps.items()}
    return {
        "at": contest.at,
        "median_seconds": _medians(times),
        "rounds": len(next(iter(times.values()))),
        "training_median_seconds": _medians(step_times),
        "peak_bytes": peaks,
        "training_peak_bytes": step_peaks,
        "dropped": dropped,
        "rows": [_row(claim, contest, times, step_times, peaks, step_peaks) for claim in contest.claims],
    }


def met(value: float, bar: float | None, upper: bool) -> bool | None:
    return None if bar is None else (value <= bar if upper else value >= bar)


def _row(
    claim: Claim,
    contest: Contest,
    times: dict[str, list[float]],
    step_times: dict[str, list[float]],
    peaks: dict[str, int],
    step_peaks: dict[str, int],
) -> dict[str, Any]:
    inference, training = (_decide(claim, measured) for measured in (times, step_times))
    decided = training if contest.train else inference
    assert decided is not None and inference is not None
    return {
        "what": claim.what,
        "against": claim.against,
        "at": contest.at,
        "about": "forward + backward" if contest.train else "inference",
        "bar": claim.bar,
        "upper": claim.upper,
        "ratio": asdict(decided[2]),
        "ours": decided[0],
        "theirs": decided[1],
        "met": met(decided[2].value, claim.bar, claim.upper),
        "inference": asdict(inference[2]),
        "training": asdict(training[2]) if training else None,
        "peak_bytes": [peaks[claim.ours[0]], peaks[claim.theirs[0]]],
        "training_peak_bytes": [step_peaks[claim.ours[0]], step_peaks[claim.theirs[0]]] if training else None,
        "limit": claim.limit,
    }


def _decide(claim: Claim, times: dict[str, list[float]]) -> tuple[str, str, Ratio] | None:
    """(our best, their best, ratio in the claim's direction), None where nothing was measured."""
    if not times:
        return None
    ours, theirs = (
        min((name for name in names if name in times), key=lambda name: statistics.median(times[name]))
        for names in (claim.ours, claim.theirs)
    )
    pair = (times[ours], times[theirs]) if claim.upper else (times[theirs], times[ours])
    return ours, theirs, ratio(*pair)


def _placed(work: Work, setting: Setting) -> Work:
    module = work.module.to(setting.device, setting.dtype)
    return Work(module, tuple(t.to(setting.device, setting.dtype) for t in work.inputs), work.compiled)


def _forward(graph: Any, work: Work) -> Call:
    def call() -> None:
        work.module.eval()
        with torch.inference_mode():
            graph(*work.inputs)

    return call


def _step(graph: Any, work: Work) -> Call:
    leaves = [t.clone().requires_grad_() for t in work.inputs]

    def call() -> None:
        work.module.train()
        graph(*leaves).sum().backward()
        for tensor in (*leaves, *work.module.parameters()):
            tensor.grad = None

    return call


def _refusal(graph: Any, work: Work) -> str:
    """Why torch.compile does not work here (no C++ compiler, say); empty where it does."""
    try:
        _forward(graph, work)()
    except Exception as error:  # whatever the compiler raises: the table then says so, and the eager graph stands
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    return ""


def _medians(times: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in times.items()}
