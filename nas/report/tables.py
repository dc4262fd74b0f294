"""The tables of a run as people read them: in the terminal (rich), in Markdown, and as rows for the HTML page.

The numbers come from the DataFrames with the columns of trials.csv and front.csv; here they get units. Accuracy is a
fraction in the files and a percentage on every page; MACs and parameters keep three digits (files have the integers).
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from rich.table import Table

from nas.numbers import magnitude

FRONT_COLUMNS = ("trial", "accuracy", "accuracy_test", "macs", "params", "throughput")
HEADINGS = {
    "trial": "trial", "state": "state", "epochs": "epochs", "accuracy": "accuracy %", "accuracy_test": "test %",
    "macs": "MACs", "params": "params", "throughput": "images/s", "throughput_measured": "images/s", "seed": "seed",
    "hash": "genome", "seconds": "seconds", "reason": "reason", "winner": "winner", "layers": "layers by stage",
}  # fmt: skip


def cell(column: str, value: object) -> str:
    """One value as text with the unit that HEADINGS announces; a missing one is a dash."""
    if value is None or pd.isna(value) or value == "":  # type: ignore[call-overload]
        return "–"
    if column == "accuracy" or column.startswith("accuracy_"):
        return f"{100 * float(value):.2f}"  # type: ignore[arg-type]
    if column in ("macs", "params"):
        return magnitude(float(value))  # type: ignore[arg-type]
    if column.startswith("throughput"):
        return f"{float(value):,.0f}"  # type: ignore[arg-type]
    if column in ("trial", "epochs", "seed"):
        return str(int(value))  # type: ignore[call-overload]
    if column == "seconds":
        return f"{float(value):.1f}"  # type: ignore[arg-type]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rows(frame: pd.DataFrame, columns: list[str]) -> list[list[str]]:
    """The frame as text, a list of cells for each row."""
    return [[cell(column, row[column]) for column in columns] for row in frame.to_dict("records")]


def front_columns(front: pd.DataFrame) -> list[str]:
    """What a reader needs of the front; winners have names, and a measured throughput instead of an estimate."""
    better = {"trial": "winner", "throughput": "throughput_measured"}
    known = {name for name in better.values() if name in front and front[name].notna().any()}
    names = [better[name] if better.get(name) in known else name for name in FRONT_COLUMNS]
    return [name for name in names if name in front and front[name].notna().any()]


def front_table(front: pd.DataFrame, layers: Mapping[int, str]) -> Table:
    """The Pareto front for the terminal, in the order of `front`; `layers` describes a trial's genome in a line."""
    table = Table(title="Pareto front", title_justify="left", title_style="bold", box=None, pad_edge=False)
    columns = front_columns(front)
    for column in columns:
        table.add_column(HEADINGS[column], justify="left" if column == "winner" else "right", no_wrap=True)
    table.add_column(HEADINGS["layers"], overflow="fold")
    for trial, cells in zip(front["trial"], rows(front, columns), strict=True):
        table.add_row(*cells, layers.get(int(trial), ""))
    return table


def markdown(frame: pd.DataFrame, columns: list[str]) -> str:
    """A Markdown table of some columns, numbers to the right.

    >>> markdown(pd.DataFrame({"trial": [3], "accuracy": [0.9722]}), ["trial", "accuracy"]).splitlines()[-1]
    '| 3 | 97.22 |'
    """
    text = {"state", "hash", "reason", "winner", "layers"}
    lines = [
        "| " + " | ".join(HEADINGS.get(column, column) for column in columns) + " |",
        "|" + "|".join(" --- " if column in text else " ---: " for column in columns) + "|",
    ]
    for cells in rows(frame, columns):
        lines.append("| " + " | ".join(value.replace("|", "\\|").replace("\n", " ") for value in cells) + " |")
    return "\n".join(lines)
