"""front.csv as it was written, held to what it was made from.

The table is read, and not made again, because it has more than the trials: the winners' names and what was measured of
them at the end. A row has to be what its trial is, and has to say what `winners/<name>.json` says, which is sealed. A
value that has changed in it is named, for `nas pick` chooses by it.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from nas.engine import Ledger
from nas.engine.reading import AGAIN, ANEW, SHARES, WINNER, read_table
from nas.errors import RunError
from nas.files import csv_of
from nas.metrics import METRICS
from nas.report.classes import Results, read_results

MEASURED = [f"{name}_measured" for name in METRICS]
KNOWN_LAST = (*MEASURED, "accuracy_test", "accuracy_test_se")  # what only the winners' results have beside front.csv
NEEDED = ("trial", "state", "epochs", "accuracy", "macs", "params", "seed", "hash", "seconds", "reason")
NUMBERS = {*("trial", "epochs", "seed", "seconds", "repeats"), *SHARES, *METRICS, *MEASURED}
GONE = "restore it: the trials that it was made from are gone"
TEXT = ("state", "hash", "reason", "winner")  # a hash may look like a number: 12345678e901


def read_front(directory: Path, *needed: str) -> pd.DataFrame:
    """front.csv as it is written. needed: columns beside the usual. Raises RunError for a damaged one."""
    file, remedy = directory / "front.csv", remedy_in(directory)
    return read_table(file, needed=[*NEEDED, *needed], numbers=NUMBERS, text=TEXT, remedy=remedy)


def written_front(
    directory: Path, trials: pd.DataFrame, ledger: Ledger | None, results: Mapping[str, Results]
) -> pd.DataFrame | None:
    """front.csv, held to its trials and winners; None if one of its trials is not complete, or if it has just gone.

    trials: as in trials.csv. ledger: None for a run that is published without its trials. results: as `results_in`.
    Raises RunError if a row is not what its trial or its winner has, or if that of a winner is gone.

    >>> written_front(run.directory, run.trials, run.ledger, run.winners)
    """
    file = directory / "front.csv"
    try:
        front = read_front(directory).astype({"trial": int})
        if not set(front["trial"]) <= set(trials.loc[trials["state"] == "complete", "trial"]):
            return None
        if (row := _unlike_trials(front, trials)) is not None:
            source = "trials.csv" if ledger is None else f"trials/{front['trial'][row]:04d}"
            what = f"damaged (row {1 + row} is not what {source} has, or is there twice)"
            raise RunError(f"{what}; {remedy_in(directory)}", file=file)
        hold_to_winners(front, directory, ledger, results)
        if "winner" in front and (lost := results.keys() - set(front["winner"])):
            raise RunError(f"damaged (no row is winners/{min(lost)}.json's); {remedy_in(directory)}", file=file)
        return front
    except RunError:
        if file.exists():
            raise
        return None  # a driver is writing the winners and then the table anew


def is_current(directory: Path, ledger: Ledger | None, results: Mapping[str, Results]) -> bool:
    """Whether there is a front.csv, and it is of all trials that have ended. ledger, results: as in `written_front`.

    The winners say of which trials the front was chosen. Where none does (those of earlier versions, an empty front, or
    without winners/), the times of the files have to do.
    """
    file = directory / "front.csv"
    if ledger is None or not file.exists():
        return file.exists()
    said = {found["trials_sha256"] for found in results.values() if "trials_sha256" in found}
    if said:
        return said == {ledger.outcomes_sha256}
    written = file.stat().st_mtime_ns
    return all(result.stat().st_mtime_ns <= written for result in ledger.folder.glob("*/result.json"))


def hold_to_winners(
    front: pd.DataFrame, directory: Path, ledger: Ledger | None, results: Mapping[str, Results]
) -> None:
    """Raise RunError if a row says something else than the results of its winner, or if these are gone.

    Winners of earlier versions have no results, and winners/ may have been removed as a whole.
    """
    folder = directory / "winners"
    expected = ledger is not None and ledger.id is not None and folder.is_dir()
    for row, winner in enumerate(front.get("winner", ())):
        for file in (folder / f"{winner}.json", folder / f"{winner}.yaml") if expected else ():
            if not file.exists():
                raise RunError(f"gone, of a winner in front.csv; {ANEW}", file=file)
        if _is_unlike(front.iloc[row].to_dict(), results.get(winner, {})):
            what = f"damaged (row {1 + row} is not what winners/{winner}.json has)"
            raise RunError(f"{what}; {remedy_in(directory)}", file=directory / "front.csv")


def results_in(directory: Path) -> dict[str, Results]:
    """What winners/<name>.json says, by the winner's name. Raises RunError for a damaged one."""
    names = sorted(path.stem for path in (directory / "winners").glob("*.json") if WINNER.fullmatch(path.stem))
    return {name: read_results(directory / "winners" / f"{name}.yaml") for name in names}


def remedy_in(directory: Path) -> str:
    """What to do about a damaged file of a run: one that is published without its trials is not written again."""
    return AGAIN if (directory / "trials").is_dir() else GONE


def same_number(one: object, other: object) -> bool:
    """Whether two cells are one number, but for the last digits of a CSV file; a missing one is missing in both."""
    try:
        a, b = float(str(one)), float(str(other))
    except ValueError:
        return False
    return math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) or (math.isnan(a) and math.isnan(b))


def _unlike_trials(front: pd.DataFrame, trials: pd.DataFrame) -> int | None:
    """The first row that is not what the trials make of it: in a cell, in the winner's name, or there twice."""
    from nas.search.pareto import by_genome

    own = by_genome(trials).drop_duplicates("trial").set_index("trial").reindex(front["trial"]).reset_index()
    columns = [str(name) for name in front if name in own]
    names = [f"w{rank}-{trial:04d}" for rank, trial in enumerate(front["trial"], start=1)]
    for row, (found, made) in enumerate(zip(_cells(front[columns]), _cells(own[columns]), strict=True)):
        same = all(_same(name, *cells) for name, *cells in zip(columns, found, made, strict=True))
        if not same or ("winner" in front and front["winner"][row] != names[row]):
            return row
    return None


def _cells(table: pd.DataFrame) -> list[list[str]]:
    """As a CSV file has them: cells of all types are compared in one form."""
    return list(csv.reader(io.StringIO(csv_of(table), newline="")))[1:]


def _same(column: str, one: str, other: str) -> bool:
    if column in TEXT:
        return one == other
    return one.lower() == other.lower() or same_number(one, other)  # pandas writes the text TRUE as True


def _is_unlike(row: Mapping[Any, Any], results: Mapping[str, Any]) -> bool:
    said = {name: value for name, value in results.items() if name in NUMBERS and name != "trial"}
    if "measured" in results:  # those of earlier versions do not have all
        said = dict.fromkeys(KNOWN_LAST, math.nan) | said
        said |= {f"{name}_measured": value for name, value in results["measured"].items()}
    return any(not same_number(row[name], said[name]) for name in said if name in row)
