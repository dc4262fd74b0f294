"""The tables of a conversion as they were written, held to what they were made from.

    sensitivity.csv    scores of single candidates, from scores.csv
    assemblies.csv     scores before repair, from scores.csv; accuracy and costs after it, from the trials

While a conversion goes on, the tables are of before, and are shown as they are: their last writing is at its end. One
whose scores are taken anew has been removed (nas/convert/measuring.py).
Scores are found by the candidates that are chosen, as JSON: the column `assembly` of scores.csv.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from nas.engine.reading import read_table
from nas.errors import RunError
from nas.metrics import METRICS
from nas.report.front import remedy_in, same_number

KEEP = "keep"  # a layer's own attention (nas/convert/candidates.py, which imports torch)
BEFORE = {"kl": "kl", "delta_accuracy": "delta_accuracy_before"}  # columns of scores.csv in assemblies.csv


def read_sensitivity(directory: Path, current: bool) -> pd.DataFrame | None:
    """sensitivity.csv; None before it is written. Raises RunError for a damaged one.

    current: whether front.csv is of all trials that have ended.
    """
    file, text = directory / "sensitivity.csv", ["layer", "candidate"]
    if not file.exists():
        return None
    needed = [*text, "kl", "delta_accuracy"]  # of a piece that diverged, kl is infinite
    table = read_table(file, needed=needed, numbers=needed[3:], text=text, remedy=remedy_in(directory))
    _check_types(table, text, file)
    _check_keys(table, text, file)
    if current and (scores := _scores(directory)):
        keys = [json.dumps({row["layer"]: row["candidate"]}) for row in table.to_dict("records")]
        alone = {key for key in scores if key.count('": "') == 1}  # of one layer; names have none of these signs
        for key in [*keys, *sorted(alone - set(keys))]:
            if key not in alone or key not in keys:
                what = (
                    f"scores.csv does not have {key}" if key not in alone else f"it lacks {key}, which scores.csv has"
                )
                raise RunError(f"damaged ({what}); {remedy_in(directory)}", file=file)
        for number, (key, row) in enumerate(zip(keys, table.to_dict("records"), strict=True), start=1):
            _hold(row, scores[key], file, f"row {number} is not what scores.csv has")
    return table


def read_assemblies(directory: Path, trials: pd.DataFrame, current: bool) -> pd.DataFrame | None:
    """assemblies.csv; None before it is written, and if one of its trials is to be trained again.

    trials: as in trials.csv, of which trial 0 is the parent. current: as above. Raises RunError for a damaged file.
    """
    file = directory / "assemblies.csv"
    numbers = ["trial", "replaced", "macs", "kl", "accuracy", "delta_accuracy_before", "delta_accuracy"]
    if not file.exists():
        return None
    table = read_table(file, needed=["arm", *numbers], numbers=numbers, text=["arm"], remedy=remedy_in(directory))
    _check_keys(table, ["arm", "trial"], file)
    known = {row["trial"]: row for row in trials.to_dict("records")}
    if not {0, *table["trial"]} <= known.keys():
        return None
    scores = _scores(directory) if current else {}
    for number, row in enumerate(table.to_dict("records"), start=1):
        trial = known[row["trial"]]
        if current and trial["state"] == known[0]["state"] == "complete":
            own = {name: trial[name] for name in METRICS if name in trial}
            own["delta_accuracy"] = trial["accuracy"] - known[0]["accuracy"]
            _hold(row, own, file, f"row {number} is not what trial {row['trial']:04d} has")
        score = scores.get(_key(trial), {})
        before = {column: score[name] for name, column in BEFORE.items() if name in score}
        _hold(row, before, file, f"row {number} is not what scores.csv has")
    return table


def _scores(directory: Path) -> dict[str, dict[Any, Any]]:
    """The rows of scores.csv by assembly; none where it is gone."""
    file, text = directory / "scores.csv", ["assembly", "sha256"]
    if not file.exists():
        return {}
    rows = read_table(file, needed=["assembly"], text=text, remedy=remedy_in(directory))
    _check_types(rows, text, file)
    return {row["assembly"]: row for row in rows.to_dict("records")}


def _check_types(table: pd.DataFrame, text: list[str], file: Path) -> None:
    """Raise RunError if a column beside those of text is no column of numbers. They may be infinite."""
    wrong = [name for name in table if name not in text and not is_numeric_dtype(table[name])]
    if wrong and len(table):
        raise RunError(f"damaged (not all in column {wrong[0]} are numbers); {remedy_in(file.parent)}", file=file)


def _check_keys(table: pd.DataFrame, keys: list[str], file: Path) -> None:
    """Raise RunError for a table without rows, and for a row that lacks a key or has those of a row before it."""
    wrong = (table[keys].isna().any(axis=1) | table.duplicated(keys)).to_numpy()
    if table.empty or wrong.any():
        what = "it has no rows" if table.empty else f"row {1 + wrong.argmax()} has no {' and '.join(keys)} of its own"
        raise RunError(f"damaged ({what}); {remedy_in(file.parent)}", file=file)


def _key(trial: Mapping[Any, Any]) -> str:
    names = list(map(str, trial))
    layers = names[names.index("reason") + 1 :]  # the parameters (nas/engine/trials_table.py)
    return json.dumps({layer: trial[layer] for layer in layers if trial[layer] != KEEP}, sort_keys=True, default=str)


def _hold(row: Mapping[Any, Any], own: Mapping[Any, Any], file: Path, what: str) -> None:
    """Raise RunError if a number that both have differs."""
    for name, value in own.items():
        if name in row and not same_number(row[name], value):
            raise RunError(f"damaged ({what}: {name}); {remedy_in(file.parent)}", file=file)
