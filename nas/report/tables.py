"""Tables of a run for the terminal (rich) and, as rows of text, for the HTML page.

Values come from DataFrames with the columns of trials.csv and front.csv. Each metric formats its own values
(nas/metrics): accuracy, a fraction in the files, is shown as a percentage, and MACs with three digits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd
from rich.table import Table

from nas.engine.job import PUBLIC_COSTS
from nas.metrics import METRICS, Metric

FRONT_COLUMNS = ("trial", "accuracy", "accuracy_test", *PUBLIC_COSTS)
HEADINGS = {"accuracy_test": "test %", "hash": "genome", "layers": "layers by stage"}  # other than the name


def heading(column: str) -> str:
    """The heading of a column of trials.csv or front.csv, with the unit of its cells."""
    metric = metric_of(column)
    return HEADINGS.get(column) or (metric.heading if metric else column)


def cell(column: str, value: str | float | None) -> str:
    """One value as text, in the unit of its heading; a dash if it is missing."""
    if value is None or pd.isna(value) or value == "":
        return "–"
    if (metric := metric_of(column)) is not None:
        return metric.text(float(value))
    if column in ("trial", "epochs", "seed"):
        return str(int(value))
    if column == "seconds":
        return f"{float(value):.1f}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def with_error(column: str, value: float | None, error: float | None) -> str:
    """`96.53 ± 1.08`: a value with its standard error, in the unit of its heading; the value alone if it has none.

    >>> with_error("accuracy", 0.9653, 0.0108)
    '96.53 ± 1.08'
    """
    text = cell(column, value)
    return text if error is None or pd.isna(error) else f"{text} ± {cell(column, error)}"


def metric_of(column: str) -> Metric | None:
    """The metric of a column's values: accuracy for `accuracy_std`, throughput for `throughput_measured`."""
    name = "accuracy" if column.startswith("accuracy_") else column.removesuffix("_measured")
    return METRICS.get(name)


def rows(frame: pd.DataFrame, columns: list[str]) -> list[list[str]]:
    """The frame as text, one list of cells per row; a value has its standard error where the frame has one for it."""
    return [[with_error(c, row[c], row.get(f"{c}_se")) for c in columns] for row in frame.to_dict("records")]


def front_columns(front: pd.DataFrame) -> list[str]:
    """The columns to show of the front: winners by name, and measured values instead of predicted ones."""
    known = [str(name) for name in front if front[name].notna().any()]
    names = dict.fromkeys([*FRONT_COLUMNS, *(name for name in known if name in METRICS)])
    better = {name: f"{name}_measured" for name in names} | {"trial": "winner"}
    chosen = [better[name] if better[name] in known else name for name in names]
    return [name for name in chosen if name in known]


def front_table(front: pd.DataFrame, layers: Mapping[int, str], worded: Callable[[str], str] = str) -> Table:
    """The Pareto front for the terminal, in the order of `front`. layers: one line about each trial's genome.

    worded: from the run (nas/report/run.py), for the headings.
    """
    table = Table(title="Pareto front", title_justify="left", title_style="bold", box=None, pad_edge=False)
    columns = front_columns(front)
    for column in columns:
        table.add_column(worded(heading(column)), justify="left" if column == "winner" else "right", no_wrap=True)
    table.add_column(heading("layers"), overflow="fold")
    for trial, cells in zip(front["trial"], rows(front, columns), strict=True):
        table.add_row(*cells, layers.get(int(trial), ""))
    return table
