"""Tables whose rows show what has changed in them: a column `row_sha256`.

    12 hex digits of SHA-256(row number, number of rows, {column: value})

That keeps nobody out who means to change a table. It shows a value that an editor or a merge has changed, and a row
that is gone, added or moved. Numbers count by their first 15 digits: spreadsheets keep no more, and write 0.50 for 0.5
and TRUE for True. Columns that somebody has added behind the seals are left out. (scores.csv has seals of its own: its
rows are read one by one, and belong to a model.)
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from nas.files import csv_of, write_dataframe

ROW_SEAL = "row_sha256"
CHANGED = "has changed since it was written"


def write_sealed_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, without its index, each row with its seal.

    >>> write_sealed_table(Path("front.csv"), front)
    """
    head, *rows = csv.reader(io.StringIO(csv_of(table), newline=""))
    seals = [_seal(number, len(rows), head, row) for number, row in enumerate(rows, start=1)]
    write_dataframe(path, table.assign(**{ROW_SEAL: seals}))


def changed_row(rows: Sequence[Sequence[str]]) -> str | None:
    """What has changed in the cells of a table, its head first; None if nothing has, or if it has no seals.

    >>> changed_row([["trial", "accuracy"], ["0007", "0.9"]]) is None
    True
    """
    head, *body = rows
    if ROW_SEAL not in head:
        return None
    place = head.index(ROW_SEAL)
    names = [*head[:place], *head[place + 1 :]]
    wrong = [
        number
        for number, row in enumerate(body, start=1)
        if row[place] != _seal(number, len(body), names, [*row[:place], *row[place + 1 :]])
    ]
    if not wrong:
        return None
    return f"row {wrong[0]} {CHANGED}" if len(wrong) < len(body) or len(body) == 1 else f"it {CHANGED}"


def without_additions(rows: list[list[str]]) -> list[list[str]]:
    """The table as it was written, if columns of somebody's own were added behind its seals; else all of it.

    >>> without_additions([["trial", "accuracy"], ["0007", "0.9"]])
    [['trial', 'accuracy'], ['0007', '0.9']]
    """
    if ROW_SEAL not in rows[0][:-1]:
        return rows
    written = [row[: rows[0].index(ROW_SEAL) + 1] for row in rows]
    return written if changed_row(rows) is not None and changed_row(written) is None else rows


def _seal(number: int, count: int, head: Sequence[str], row: Sequence[str]) -> str:
    cells = {name: _form(cell) for name, cell in zip(head, row, strict=True)}
    return hashlib.sha256(json.dumps([number, count, cells], sort_keys=True).encode()).hexdigest()[:12]


def _form(cell: str) -> str:
    """A number in one form, and text in small letters."""
    try:
        value = float(cell)
    except ValueError:
        return cell.lower()
    return f"{value:.15g}" if math.isfinite(value) else cell.lower()
