"""front.csv as it was written, held to what it was made from.

The table is read, and not made again, because it has more than the trials: the winners' names and what was measured of
them at the end. A row has to be what its trial is, and has to say what `winners/<name>.json` says, which is sealed. A
value that has changed in it is named, for `nas pick` chooses by it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nas.engine.reading import AGAIN, SHARES, read_table
from nas.errors import RunError
from nas.metrics import METRICS
from nas.report.classes import WINNER, read_results

NEEDED = ("trial", "state", "epochs", "accuracy", "macs", "params", "seed", "hash", "seconds", "reason")
NUMBERS = {*("trial", "epochs", "seed", "seconds", "repeats"), *SHARES, *METRICS}
NUMBERS |= {f"{name}_measured" for name in METRICS}
GONE = "restore it: the trials that it was made from are gone"
TEXT = ("state", "hash", "reason", "winner")  # a hash may look like a number: 12345678e901


def read_front(directory: Path, *needed: str) -> pd.DataFrame:
    """front.csv as it is written. needed: columns beside the usual. Raises RunError for a damaged one."""
    file, remedy = directory / "front.csv", remedy_in(directory)
    return read_table(file, needed=[*NEEDED, *needed], numbers=NUMBERS, text=TEXT, remedy=remedy)


def written_front(directory: Path, trials: pd.DataFrame) -> pd.DataFrame | None:
    """front.csv, or None if a trial has ended since it was written, one of its trials is gone, or winners/ is newer.

    Raises RunError if a row is not what its trial or its winner has.

    >>> written_front(run.directory, run.trials)
    """
    file = directory / "front.csv"
    if not file.exists():
        return None
    results = (directory / "trials").glob("*/result.json")
    if any(_is_newer(result, file) for result in results):
        return None
    front = read_front(directory).astype({"trial": int})
    if not set(front["trial"]) <= set(trials["trial"]):
        return None
    row = next(_unlike_trials(front, trials), None)
    if row is not None:
        source = f"trials/{front['trial'][row]:04d}" if (directory / "trials").is_dir() else "trials.csv"
        what = f"damaged (row {1 + row} is not what {source} has, or is there twice)"
        raise RunError(f"{what}; {remedy_in(directory)}", file=file)
    for row, winner in enumerate(front.get("winner", ())):
        results_file = directory / "winners" / f"{winner}.json"
        if _is_unlike(front.iloc[row].to_dict(), results_file):
            if _is_newer(results_file, file):  # killed before it wrote front.csv
                return None
            what = f"damaged (row {1 + row} is not what winners/{winner}.json has)"
            raise RunError(f"{what}; {remedy_in(directory)}", file=file)
    return front


def remedy_in(directory: Path) -> str:
    """What to do about a damaged file of a run: one that is published without its trials is not written again."""
    return AGAIN if (directory / "trials").is_dir() else GONE


def _is_newer(one: Path, other: Path) -> bool:
    return one.stat().st_mtime_ns > other.stat().st_mtime_ns


def _unlike_trials(front: pd.DataFrame, trials: pd.DataFrame) -> Iterator[int]:
    """The rows that are not what the trials make of them: in cells, in the rank of the winner, or twice there."""
    from nas.search.pareto import by_genome

    own = by_genome(trials).drop_duplicates("trial").set_index("trial").reindex(front["trial"]).reset_index()
    columns = [name for name in front if name in own]
    for row, (found, made) in enumerate(zip(_cells(front[columns]), _cells(own[columns]), strict=True)):
        same = (a == b or (name not in TEXT and _close(a, b)) for name, a, b in zip(columns, found, made, strict=True))
        ranked = "winner" not in front or _ranked(front["winner"][row]) == (1 + row, front["trial"][row])
        if not all(same) or not ranked:
            yield row


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """As a CSV file has them: cells of all types are compared in one form."""
    return list(csv.reader(io.StringIO(table.to_csv(index=False, header=False))))


def _close(one: str, other: str) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=1e-9)
    except ValueError:
        return False


def _ranked(winner: str) -> tuple[int, int] | None:
    """Rank and trial in the name of a winner; None if it is none."""
    found = WINNER.fullmatch(str(winner))
    return None if found is None else (int(found[1]), int(found[2]))


def _is_unlike(row: Mapping[Any, Any], file: Path) -> bool:
    """Whether the results of a winner, where there are some, are others than those in its row."""
    results = read_results(file.with_suffix(".yaml"))
    said = dict(results) | {f"{name}_measured": value for name, value in results.get("measured", {}).items()}
    both = [name for name in said if name in row and name in NUMBERS and name != "trial"]
    return any(not _close(str(row[name]), str(said[name])) for name in both)
