"""Runs beside each other on one page: their fronts overlaid, hypervolume at equal compute, what differs in their specs.

Hypervolumes are comparable only with one reference point. It is slightly worse than the worst complete trial of all
runs, and each curve is a share of what all of them reach together (as nas/search/anytime.py has it for one run). Equal
compute is equal worker-seconds: the training time of all workers, added up in the order in which trials ended. Of a run
that is published as tables alone that order is not known, and the order of trial numbers stands in.

Objectives are those that all runs have. Runs of other data are not refused, but the page says that they are no contest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.errors import RunError
from nas.files import check_target, write_text
from nas.metrics import METRICS, ON_TARGET
from nas.paths import flat
from nas.report.document import document
from nas.report.payload import column, limits_of, numbers
from nas.report.run import Run, read_run
from nas.report.tables import front_columns, heading, metric_of, rows
from nas.search.pareto import costs, hypervolume, reference_of, volumes

CONDITIONS = {
    "data": "other data",
    "training.validation": "another validation split",
    "training.limit": "another share of the images",
}
MARKS = 400  # points of a curve that the page holds


def write_comparison(directories: Sequence[Path], file: Path) -> Path:
    """Write the page about two or more searches or conversions, and return its path.

    Raises RunError for what is no run, for an ablation, for a run named twice, and without two objectives in common.

    >>> write_comparison([Path("results/a"), Path("results/b")], Path("comparison.html"))
    PosixPath('comparison.html')
    """
    check_target(file, "--out")
    runs = [read_run(directory) for directory in directories]
    names = _names(runs)
    objectives = _shared_objectives(runs)
    payload: dict[str, Any] = {
        "runs": [_run_data(run, name) for run, name in zip(runs, names, strict=True)],
        "objectives": objectives,
        "accuracy": runs[0].worded("accuracy"),
        "hypervolume": hypervolumes(runs, names, list(objectives)),
    }
    html = document(
        "compare.html.j2", ("compare.js",), payload,
        name=" · ".join(names),
        notices=_notices(runs),
        objectives=", ".join(f"{name} {direction}" for name, direction in objectives.items()),
        equal=_at_equal_compute(payload["hypervolume"]),
        fronts=[{"name": name, "view": _front_view(run)} for run, name in zip(runs, names, strict=True)],
        names=names,
        differences=differences(runs),
    )  # fmt: skip
    write_text(file, html)
    return file


def hypervolumes(runs: Sequence[Run], names: Sequence[str], objectives: list[str]) -> list[dict[str, Any]]:
    """By run: trials and worker-seconds spent, and the share of the volume that all runs reach together."""
    tables = [_in_order(run) for run in runs]
    points = [np.where((t["state"] == "complete").to_numpy()[:, None], costs(t, objectives), np.inf) for t in tables]
    every_NM = np.vstack(points)
    every_NM = every_NM[np.isfinite(every_NM).all(1)]
    if not len(every_NM):
        return []
    reference_M = reference_of(every_NM)
    reached = hypervolume(every_NM, reference_M)
    made = []
    for name, table, points_NM in zip(names, tables, points, strict=True):
        share, seconds = volumes(points_NM, reference_M) / reached, table["seconds"].fillna(0).cumsum().to_numpy(float)
        grows = np.flatnonzero(np.diff(share, prepend=-1.0) > 0)[:MARKS]
        kept = np.unique([*grows, len(share) - 1]) if len(share) else grows
        columns = {"trials": kept + 1, "seconds": seconds[kept], "share": share[kept]}
        made.append({"name": name} | {key: numbers(values) for key, values in columns.items()})
    return made


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The keys of the specifications in which not all runs agree, with the value of each run."""
    specs = [flat(run.facts["spec"] | {"nas version": run.facts.get("versions", {}).get("nas")}) for run in runs]
    keys = dict.fromkeys(key for spec in specs for key in spec)
    values = {key: [_said(spec[key]) if key in spec else "–" for spec in specs] for key in keys}
    return [(key, found) for key, found in values.items() if len(set(found)) > 1]


def _names(runs: Sequence[Run]) -> list[str]:
    """The directories' names, with those above them where two are alike."""
    resolved = [run.directory.resolve() for run in runs]
    if len(set(resolved)) < len(resolved):
        twice = next(path for path in resolved if resolved.count(path) > 1)
        raise RunError("named twice; name two or more different runs", file=twice)
    short = [path.name for path in resolved]
    return short if len(set(short)) == len(short) else ["/".join(path.parts[-2:]) for path in resolved]


def _shared_objectives(runs: Sequence[Run]) -> dict[str, str]:
    for run in runs:
        if run.facts.get("kind") == "ablation":
            what = "an ablation has no front to compare; its table.html compares its arms"
            raise RunError(what, file=run.directory)
    shared = {name: way for name, way in runs[0].objectives.items() if all(name in run.objectives for run in runs)}
    if len(shared) < 2:
        found = "; ".join(f"{run.directory.name}: {', '.join(run.objectives)}" for run in runs)
        raise RunError(f"the runs have fewer than two objectives in common ({found})", file=runs[0].directory)
    return shared


def _in_order(run: Run) -> pd.DataFrame:
    """The trials that a worker has ended, in order of ending where it is known."""
    ended = run.trials[~run.trials["state"].isin(["infeasible", "running"])]
    if run.ledger is None:
        return ended.sort_values("trial")
    finished = {t.job.number: t.outcome.finished for t in run.ledger.trials if t.outcome and "from" not in t.job.note}
    own = ended[ended["trial"].isin(finished)]
    return own.assign(finished=own["trial"].map(finished)).sort_values(["finished", "trial"])


def _run_data(run: Run, name: str) -> dict[str, Any]:
    front = run.front
    named = ["trial", *(n for n in ("winner", "accuracy", "accuracy_se") if n in front), *_metrics(front)]
    return {
        "name": name,
        "columns": [column(front[n], n, run.worded) for n in dict.fromkeys(named) if front[n].notna().any()],
        "layers": [run.layers.get(int(trial), "") for trial in front["trial"]],
        "limits": limits_of(run),
        "trials": {n: numbers(_complete(run)[n]) for n in ("accuracy", *_metrics(run.trials))},
    }


def _complete(run: Run) -> pd.DataFrame:
    """The complete trials, a thousand of more: they are the background of the chart."""
    complete = run.trials[run.trials["state"] == "complete"]
    return complete.iloc[np.unique(np.linspace(0, len(complete) - 1, 1000).astype(int))] if len(complete) else complete


def _metrics(table: pd.DataFrame) -> list[str]:
    return [str(n) for n in table if (metric := metric_of(str(n))) and metric.budget and table[n].notna().any()]


def _front_view(run: Run) -> dict[str, Any]:
    columns = front_columns(run.front)
    return {
        "columns": [{"heading": run.worded(heading(name)), "text": name == "winner"} for name in columns],
        "rows": [{"cells": cells} for cells in rows(run.front, columns)],
    }


def _at_equal_compute(curves: list[dict[str, Any]]) -> list[tuple[str, str, str, str]]:
    """For each run: its name, its share at the compute of the shortest run, at its own end, and its worker-minutes."""
    ended = [curve for curve in curves if curve["seconds"]]
    if not ended:
        return []
    least = min(curve["seconds"][-1] for curve in ended)
    lines = []
    for curve in ended:
        spent = np.searchsorted(curve["seconds"], least, side="right")
        then = curve["share"][spent - 1] if spent else 0.0
        lines.append((curve["name"], f"{then:.3f}", f"{curve['share'][-1]:.3f}", f"{curve['seconds'][-1] / 60:,.1f}"))
    return lines


def _notices(runs: Sequence[Run]) -> list[str]:
    notices = []
    for key, what in CONDITIONS.items():
        values = [_said(flat(run.facts["spec"]).get(key)) for run in runs]
        if len(set(values)) > 1:
            notices.append(f"The runs have {what} ({', '.join(values)}): their accuracies are not comparable.")
    if len({run.meaning for run in runs}) > 1:
        notices.append("Accuracy is agreement with a parent in some of the runs, and not in others.")
    times = {run.worded(METRICS[ON_TARGET].axis) for run in runs if ON_TARGET in run.trials}
    if len(times) > 1:
        notices.append(f"Latencies are not comparable: {'; '.join(sorted(times))}.")
    if any(run.ledger is None for run in runs):
        notices.append("Of runs published as tables alone, trials count in the order of their numbers.")
    return notices


def _said(value: Any) -> str:
    return "not set" if value is None else str(value)
