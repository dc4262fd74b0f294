"""What a trial costs beside its training: our engine and a plain Ray Tune script, both with nothing to train.

ours    `nas search` from the sampler on: TPE's suggestions in the space lavit_split, a directory and its files for each
        trial, the engine, worker processes. Training returns at once.
plain   tune.Tuner with its defaults: a function that reports once, num_samples, a resource of one core, a folder for
        its files. Its default is a fresh process for each trial, and that is most of what it takes.

Both run in this process, in one Ray session of two cores, in turns whose order is reversed every other round. A
trial's moment is when its function ends in its worker; the figure is the time from the first such moment to the last
over their number less one, so that starting up counts on neither side. What our engine sets in the environment to
quieten Ray is taken away while the plain script runs. The intervals are the lowest and the highest round.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.contest import met
from benchmarks.machine import Setting
from benchmarks.simulated import candidates
from nas.engine import Job, Ledger, Workers, session
from nas.metrics import estimator
from nas.search import load_space

SLOTS = 2
_BAR_SECONDS, _BAR_RATIO = 0.4, 3.0


def run(setting: Setting, trials: int = 60, rounds: int = 2) -> list[dict[str, Any]]:
    import ray

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        "local", num_cpus=SLOTS, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
    )
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    sides: dict[str, Callable[[Path, int], list[float]]] = {"ours": ours, "plain": plain}
    order = list(sides)
    try:
        for _ in range(rounds):
            for side in order:
                with tempfile.TemporaryDirectory() as folder:
                    times[side].append(per_trial(sides[side](Path(folder), trials)))
            order.reverse()
    finally:
        ray.shutdown()
    at = f"{trials} trials, {SLOTS} workers"
    ratios = [theirs / mine for mine, theirs in zip(times["ours"], times["plain"], strict=True)]
    rows = [
        _row("engine, seconds a trial", "—", at, times["ours"], _BAR_SECONDS, upper=True),
        _row("plain Tuner, seconds a trial", "—", at, times["plain"], None, upper=True),
        _row("plain Tuner's seconds over the engine's", "—", at, ratios, _BAR_RATIO, upper=False),
    ]
    return [{"at": at, "rounds": rounds, "seconds": times, "rows": rows}]


def per_trial(moments: list[float]) -> float:
    """Seconds a trial, from the moments at which trials ended.

    >>> per_trial([3.0, 1.0, 2.0])
    1.0
    """
    return (max(moments) - min(moments)) / (len(moments) - 1)


def ours(folder: Path, trials: int) -> list[float]:
    """The moments at which the trials of our engine ended: when their workers wrote result.json."""

    def nothing(job: Job, report: Any) -> dict[str, Any]:  # a closure: pickled by value, workers need no import
        return {"accuracy": 0.5, "epochs": 1, "seconds": 0.0}

    spec = load_space("lavit_split").with_settings({"trials": trials})
    ledger = Ledger(folder / "run")
    with ledger.locked(), session(Workers(cpu=1, gpu=0.0, count=SLOTS)) as pool:
        from nas.engine import run as run_engine

        source = candidates(spec, spec.space(spec.genome()), ledger, estimator())
        run_engine(source, ledger, work=nothing, pool=pool)
    ended = [trial.job.directory for trial in ledger.trials if trial.outcome and trial.outcome.state == "complete"]
    assert len(ended) == trials
    return [(directory / "result.json").stat().st_mtime for directory in ended]


def plain(folder: Path, trials: int) -> list[float]:
    """The moments at which the trials of a plain script ended."""

    def nothing(config: dict[str, Any]) -> None:
        from ray import tune

        tune.report({"score": 1.0, "moment": time.time()})

    with _plain_environment(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ray import tune

        tuner = tune.Tuner(
            tune.with_resources(nothing, {"cpu": 1}),
            tune_config=tune.TuneConfig(num_samples=trials),
            run_config=tune.RunConfig(storage_path=str(folder)),
        )
        results = tuner.fit()
        found = [results[index].metrics or {} for index in range(len(results))]
        return [metrics["moment"] for metrics in found]


@contextlib.contextmanager
def _plain_environment() -> Iterator[None]:
    """The environment without the settings of Ray Tune that our engine makes."""
    ours = [name for name in os.environ if name.startswith(("TUNE_", "RAY_AIR_", "RAY_CHDIR_"))]
    kept = {name: os.environ.pop(name) for name in ours}
    try:
        yield
    finally:
        os.environ.update(kept)


def _row(what: str, against: str, at: str, rounds: list[float], bar: float | None, *, upper: bool) -> dict[str, Any]:
    value = statistics.median(rounds)
    return {
        "what": what,
        "against": against,
        "at": at,
        "about": "overhead",
        "bar": bar,
        "upper": upper,
        "ratio": {"value": value, "low": min(rounds), "high": max(rounds)},
        "met": met(value, bar, upper),
        "limit": "",
    }
