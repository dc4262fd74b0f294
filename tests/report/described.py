"""What the files of a run hold that nas/report/columns.py does not describe."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from nas.plain_yaml import read_yaml
from nas.report.columns import FILES, describe_column
from nas.row_seals import ROW_SEAL, changed_row


def undescribed(run: Path) -> list[str]:
    """`file: column` of every column of a CSV, and key of a JSON file or run.yaml, without a description."""
    missing = {
        f"{name}: {column}"
        for file in run.rglob("*")
        if file.suffix in (".csv", ".json") or file.name == "run.yaml"
        for name in [entry(file)]
        for column in columns_of(file)
        if name not in FILES or describe_column(name, column) is None
    }
    return sorted(missing)


def unsealed(run: Path) -> list[str]:
    """Tables of a run whose rows have no seal, or another one. Tables of scores have seals of their own."""
    missing = []
    for file in run.glob("*.csv"):
        with file.open(newline="") as opened:
            rows = list(csv.reader(opened))
        if file.name not in ("scores.csv", "shared.csv") and (ROW_SEAL not in rows[0] or changed_row(rows)):
            missing.append(file.name)
    return sorted(missing)


def entry(file: Path) -> str:
    """The name in `FILES` of a file in a run."""
    if file.parent.name == "winners":
        return f"winner{file.suffix}"
    return "latency.json" if file.name.startswith("latency") else file.name


def columns_of(file: Path) -> Iterator[str]:
    """Columns of a CSV file, keys of a mapping; those of a trial's note are dotted."""
    if file.suffix == ".csv":
        with file.open(newline="") as opened:
            yield from next(csv.reader(opened))
        return
    content = json.loads(file.read_text()) if file.suffix == ".json" else read_yaml(file)
    for key, value in content.items():
        yield from (f"note.{inner}" for inner in value) if key == "note" else [key]
