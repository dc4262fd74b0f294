"""The anytime record: the hypervolume that a search dominates, against trials and against compute.

hypervolume.csv has a row per ended trial, in order of ending: trials and worker-seconds spent so far (including pruned
and failed trials, whose compute is spent as well), and the hypervolume as a share of what all runs in the table reach
together. A search and its random baseline share one reference point (slightly worse than the worst trial of either),
so that their curves are comparable.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from nas.engine import Ledger, Trial
from nas.search.pareto import costs, hypervolume, reference_of, volumes

BASELINE = "baseline"  # folder of the random search inside a run, and its name in the table


def anytime(search: Ledger, objectives: Collection[str]) -> pd.DataFrame:
    """The record of a search, and of its baseline if there is one. Columns: run (search or baseline), trials,
    worker_seconds, hypervolume.

    >>> anytime(Ledger(Path("results/my_run")), ["accuracy", "macs"]).groupby("run").last()
    """
    runs = {"search": _ended(search)}
    beside = search.directory / BASELINE
    if (beside / "trials").is_dir():
        runs[BASELINE] = _ended(search.within(BASELINE))
    points = {name: _points(trials, objectives) for name, trials in runs.items()}
    known = [found[np.isfinite(found).all(1)] for found in points.values()]
    every_NM = np.vstack([np.empty((0, len(objectives))), *known])
    if not len(every_NM):
        return pd.DataFrame(columns=["run", "trials", "worker_seconds", "hypervolume"])
    reference_M = reference_of(every_NM)
    reached = hypervolume(every_NM, reference_M)
    tables = []
    for name, trials in runs.items():
        seconds = np.cumsum([trial.outcome.seconds for trial in trials if trial.outcome])
        reached_N = volumes(points[name], reference_M) / reached
        table = {"run": name, "trials": range(1, len(trials) + 1), "worker_seconds": seconds, "hypervolume": reached_N}
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def _ended(ledger: Ledger) -> list[Trial]:
    """Trials trained in this run, in order of ending. Refused and imported trials cost nothing and are excluded."""
    trials = [t for t in ledger.trials if t.outcome and t.outcome.state != "infeasible" and "from" not in t.job.note]
    return sorted(trials, key=lambda trial: (trial.outcome.finished, trial.job.number))  # type: ignore[union-attr]


def _points(trials: list[Trial], objectives: Collection[str]) -> np.ndarray:
    """(trials, objectives) costs; infinite for incomplete trials."""
    rows = [{name: trial.outcome.value(name) for name in objectives} for trial in trials if trial.outcome]
    points_NM = costs(pd.DataFrame(rows, columns=list(objectives), dtype=float), objectives)
    complete_N = np.array([trial.outcome is not None and trial.outcome.state == "complete" for trial in trials], bool)
    return np.where(complete_N[:, None], points_NM, np.inf)
