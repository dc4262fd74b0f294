"""The data of the explorable page: one JSON value, columns instead of rows, read by templates/*.js.

    {"name": …, "columns": [{"name": "accuracy", "heading": "accuracy %", "kind": "percent", "about": …, "values": […]},
                            {"name": "state", "kind": "text", "levels": ["complete", …], "codes": [0, 0, 1, …]}, …],
     "curves": [[0.41, 0.52, …], null, …], "front": [3, 7, …], "limits": {"macs": 4e8}, …}

Numbers have six digits, which no screen can tell from all of them: trials.csv has those. Text is stored once, and each
trial has its index, -1 for none. 10,000 trials of 10 epochs are 2 MB.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.numbers import magnitude
from nas.report.importance import importances
from nas.report.run import Run
from nas.report.tables import heading, metric_of

FIXED = {
    *("trial", "state", "epochs", "accuracy", "accuracy_se", "seed", "hash", "seconds", "reason", "winner", "layers"),
    *("accuracy_test", "accuracy_test_se", "accuracy_std", "accuracy_weights", "repeats"),
}  # columns of trials.csv and front.csv that are neither a cost nor a searched parameter
LAST = ("seconds", "seed", "hash", "reason")
DIGITS = 6


def payload(run: Run) -> dict[str, Any]:
    """Everything about a run's trials that the page draws. Only plain data; see the head of this file."""
    table = trials_table(run)
    parameters = parameters_of(run)
    return {
        "name": run.facts.get("name") or run.directory.name,
        "directory": str(run.directory),
        "columns": [column(table[name], name, run.worded, name in parameters) for name in _ordered(table)],
        "curves": [_curve(run.curves.get(int(trial))) for trial in run.trials["trial"]],
        "front": _positions(run.trials["trial"], run.front["trial"]),
        "base": _base(run),
        "limits": limits_of(run),
        "objectives": run.objectives,
        "accuracy": run.worded("accuracy"),
        "hypervolume": hypervolume_data(run.anytime),
        "importance": _importance(run, parameters),
        "confusion": [_confusion(run, winner) for winner in run.by_class],
        "stacks": stacks_of(run),
        "sensitivity": _columns_of(run.sensitivity),
        "assemblies": _columns_of(run.assemblies),
        "trialPaths": run.ledger is not None,
    }


def trials_table(run: Run) -> pd.DataFrame:
    """The trials with what is known beside them: the winners' names and measurements, and each genome in one line."""
    table = run.trials
    found = [name for name in run.front if name not in table and name != "accuracy_std"]
    if found:
        table = table.merge(run.front[["trial", *found]], on="trial", how="left")
    lines = run.layer_lines
    return table.assign(layers=table["trial"].map(lines))


def parameters_of(run: Run) -> list[str]:
    """The searched parameters: the columns of trials.csv that are nothing else."""
    return [str(name) for name in run.trials if name not in FIXED and metric_of(str(name)) is None]


def limits_of(run: Run) -> dict[str, float]:
    budget = run.facts["spec"].get("budget") or {}
    return {name: limit for name, limit in budget.items() if isinstance(limit, (int, float)) and math.isfinite(limit)}


def column(values: pd.Series, name: str, worded: Callable[[str], str] = str, parameter: bool = False) -> dict[str, Any]:
    """One column. kind: how its numbers are written (templates/core.js); direction: of a metric, what is better."""
    metric = metric_of(name)
    made: dict[str, Any] = {"name": name, "heading": worded(heading(name)), "about": worded(described(name, parameter))}
    if parameter:
        made["parameter"] = True
    if metric is not None and not name.endswith("_se"):
        made |= {"metric": True, "direction": metric.direction, "axis": worded(metric.axis)}
    numeric = pd.to_numeric(values, errors="coerce")
    if name in ("hash", "layers", "reason", "winner", "state") or numeric.notna().sum() < values.notna().sum():
        codes, levels = pd.factorize(values.astype(object).where(values.notna(), None), use_na_sentinel=True)
        return made | {"kind": "text", "levels": [str(level) for level in levels], "codes": codes.tolist()}
    return made | {"kind": _kind(name), "values": numbers(numeric)}


def described(name: str, parameter: bool = False) -> str:
    """What a column is, from the one place that says so (nas/report/columns.py)."""
    from nas.report.columns import describe_column

    if parameter:
        return f"a searched parameter: {name} of the genome"
    extra = {"layers": "the genome in one line: the cores of each stage's layers"}
    return extra.get(name) or describe_column("front.csv", name) or ""


def numbers(values: Iterable[Any]) -> list[float | int | None]:
    """Numbers of six digits; None where one is missing or not finite."""
    return [_short(float(value)) if pd.notna(value) else None for value in values]


def as_json(data: Any) -> str:
    """JSON that can stand in a script element: no `<` is left in it."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def hypervolume_data(record: pd.DataFrame) -> list[dict[str, Any]]:
    """The record of nas.search.anytime, a mapping for each run in it."""
    if len(record) < 2:
        return []
    return [
        {
            "name": "search" if name == "search" else "random baseline",
            "trials": numbers(rows["trials"]),
            "seconds": numbers(rows["worker_seconds"]),
            "share": numbers(rows["hypervolume"]),
        }
        for name, rows in record.groupby("run", sort=False)
    ]


def stacks_of(run: Run) -> list[dict[str, Any]]:
    """Each winner as its stack of layers, as its winners/<name>.json has it (nas/search/stack.py).

    Those of earlier versions do not have it; the genome is then read, which needs torch.
    """
    made = []
    for name, results in run.results.items():
        file = run.directory / "winners" / f"{name}.yaml"
        if not file.exists():
            continue
        found: Mapping[str, Any] | None = results if "layers" in results else _stack_of(file)
        if found is not None:
            totals = {key: sum(layer[key] for layer in found["layers"]) for key in ("macs", "params")}
            made.append({"winner": name, **totals} | {key: found[key] for key in ("layers", "timing") if key in found})
    return made


def _stack_of(file: Path) -> dict[str, Any] | None:
    """That of a winner's genome file; None of a plug-in that is not loaded: the rest of the page does not need it."""
    from nas.errors import SpecError
    from nas.genome import load_genome
    from nas.search.stack import stack_of, table_of

    table = table_of(file.parents[1])
    try:
        return stack_of(load_genome(file), table)
    except SpecError:
        return None


def _ordered(table: pd.DataFrame) -> list[str]:
    """The columns that have values: names and results first, then parameters, bookkeeping last."""
    names = [str(name) for name in table if table[name].notna().any()]
    first = [name for name in ("trial", "winner", "state", "epochs") if name in names]
    middle = [name for name in names if name not in first and name not in LAST and name != "layers"]
    return [*first, *middle, *(name for name in ("layers", *LAST) if name in names)]


def _kind(name: str) -> str:
    metric = metric_of(name)
    if metric is not None and metric.name == "accuracy":
        return "percent"
    if metric is not None and metric.text is magnitude:
        return "magnitude"
    if name == "peak_memory":
        return "megabytes"
    return "integer" if name in ("trial", "epochs", "seed", "repeats") else "number"


def _short(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    if value == round(value) and abs(value) < 1e15:
        return int(value)
    return float(f"{value:.{DIGITS}g}")


def _curve(curve: np.ndarray | None) -> list[float | int | None] | None:
    """The accuracies of epochs 1, 2, …"""
    return None if curve is None else [_short(round(value, 4)) for value in curve[:, 1].tolist()]


def _positions(trials: pd.Series, chosen: pd.Series) -> list[int]:
    places = {int(trial): place for place, trial in enumerate(trials)}
    return [places[int(trial)] for trial in chosen if int(trial) in places]


def _base(run: Run) -> int | None:
    """The place of the base genome's first trial."""
    found = np.flatnonzero((run.trials["hash"] == run.base).to_numpy()) if run.base else np.array([], int)
    return int(found[0]) if len(found) else None


def _importance(run: Run, parameters: list[str]) -> dict[str, Any] | None:
    found = importances(run.trials, parameters)
    if found is None:
        return None
    return vars(found) | {"mean": numbers(found.mean), "std": numbers(found.std), "r2": _short(found.r2)}


def _confusion(run: Run, winner: str) -> dict[str, Any]:
    results = run.by_class[winner]
    counts = [[label, answer, count] for (label, answer), count in results.counts.items()]
    return {"winner": winner, "names": results.names, "images": results.images, "counts": counts}


def _columns_of(table: pd.DataFrame | None) -> dict[str, list[Any]] | None:
    if table is None:
        return None
    numeric = {name: pd.api.types.is_numeric_dtype(table[name]) for name in table}
    return {str(n): numbers(table[n]) if numeric[n] else table[n].fillna("").astype(str).tolist() for n in table}
