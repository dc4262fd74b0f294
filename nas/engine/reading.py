"""The files of a run beside its trials, read back: JSON of a given form, and tables.

Nothing in them is believed because it is there: an earlier crash of the machine, an editor or a copy that was cut off
may have left anything. A file that is not what was written is named, with the line or key, and never a traceback. What
can be made again is made again by the same command once the file is deleted, so that is what the message says.

    test.json: accuracy: damaged (expected at most 1, found 7.0); delete it, and the same run, started again, writes it
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import pandas as pd
from pydantic import Field, TypeAdapter, ValidationError

from nas.engine.job import Count
from nas.errors import RunError, shown, wording
from nas.files import ALTERED, is_altered, parse_json, regular
from nas.row_seals import ROW_SEAL, changed_row, without_additions

if TYPE_CHECKING:
    from nas.genome import Genome  # which imports torch

SHARES = {  # columns that have shares of 1
    *("accuracy", "accuracy_se", "accuracy_std", "accuracy_weights", "accuracy_test", "accuracy_test_se"),
    *("accuracy_validation", "accuracy_with_auxiliary", "accuracy_before_switch", "accuracy_after_switch"),
}
T = TypeVar("T")
WINNER = re.compile(r"w\d+-(\d{4,})")  # a winner's name, without a file's ending: its rank, and its trial's number
ENDINGS = (".yaml", ".safetensors", ".json")  # of a winner's files
Cell = tuple[Count, Count, Annotated[int, Field(ge=1)]]  # of a confusion matrix: class, class answered, images
ANEW = "the same run, started again, writes it anew"
AGAIN = f"delete it, and {ANEW}"


def read_json(file: Path, kind: type[T], remedy: str = AGAIN) -> T | None:
    """What `write_json` wrote, of the form of `kind` (a TypedDict, a dataclass); None if there is no such file.

    Raises RunError for a damaged file.

    >>> read_json(Path("results/my_run/trials/0007/test.json"), TestResult)["accuracy"]
    """
    if not file.exists():
        return None
    try:
        content = regular(file).read_bytes()
        found: T = _reader(cast(Any, kind)).validate_json(content, strict=True)
        if isinstance(values := parse_json(content), dict) and is_altered(values):
            raise RunError(f"damaged ({ALTERED}); {remedy}", file=file)
        return found
    except ValidationError as error:
        first = error.errors()[0]
        what = f"no JSON: {first['ctx']['error']}" if first["type"] == "json_invalid" else wording(first)
        raise RunError(f"damaged ({what}); {remedy}", file=file, path=".".join(map(str, first["loc"]))) from None
    except (OSError, ValueError) as error:
        what = str(error.strerror if isinstance(error, OSError) else error)
        raise RunError(f"damaged ({what}); {remedy}", file=file) from None


def read_table(
    file: Path,
    *,
    needed: Collection[str] = (),
    numbers: Collection[str] = (),
    text: Collection[str] = (),
    remedy: str = AGAIN,
    **options: Any,
) -> pd.DataFrame:
    """A table that pandas wrote as CSV.

    needed: columns that it must have. numbers: those that have finite numbers from 0 on, where they are there; SHARES
    end at 1, differences (`delta_...`) may be negative. text: columns that are kept as text. All cells may be empty but
    the number of a trial. options: of pandas' read_csv. Raises RunError for a damaged file, and for one with a row that
    is not what its seal says (nas/row_seals.py).

    >>> read_table(Path("results/my_run/front.csv"), needed=["trial"], numbers=["trial", "macs"], text=["hash"])
    """
    try:
        content = regular(file).read_bytes().decode("utf-8-sig")  # a spreadsheet writes a mark at the beginning
        rows = [row for row in csv.reader(io.StringIO(content, newline=""), strict=True) if row]
        _check_form(content, rows)
        rows = without_additions(rows)
        if lacking := [name for name in needed if name not in rows[0]]:
            raise ValueError(f"there is no column {lacking[0]}; its first line is {shown(','.join(rows[0]))}")
        if (changed := changed_row(rows)) is not None:
            raise ValueError(changed)
        for name in rows[0]:
            if name in numbers and name not in text:
                _check_numbers(name, (row[rows[0].index(name)] for row in rows[1:]))
        literal = {"keep_default_na": False, "na_values": [""]}  # a layer's candidate may be called NA
        kinds: dict[str, Any] = {"dtype": dict.fromkeys(text, str)} | literal | options
        kinds |= {"usecols": range(len(rows[0]))}
        table: pd.DataFrame = pd.read_csv(io.StringIO(content, newline=""), **kinds)
        return table.drop(columns=ROW_SEAL, errors="ignore")
    except (ValueError, csv.Error, OSError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise RunError(f"damaged ({what}); {remedy}", file=file) from None


def read_epochs(metrics: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv, without empty cells.

    Empty if there is no such table yet, or if it is damaged: the worker writes it anew from the checkpoint. (That of a
    trial that has ended is held to its digest when the ledger is read.)
    """
    try:
        with regular(metrics).open(newline="") as lines:
            rows = [{key: float(cell) for key, cell in row.items() if cell} for row in csv.DictReader(lines)]
            return rows if all("epoch" in row for row in rows) else []
    except (OSError, ValueError, TypeError, csv.Error):
        return []


def is_winners(name: str) -> bool:
    """Whether a file in winners/ is one that the program writes. Files with other names belong to the user."""
    return Path(name).suffix in ENDINGS and WINNER.fullmatch(Path(name).stem) is not None


def hold_to_front(genome: Genome, own: str, file: Path, remedy: str) -> None:
    """Raise RunError if a winner's genome is another one than its row of front.csv is of. own: the row's hash."""
    if genome.hash != own:
        what = f"another genome than that of front.csv: its hash is {genome.hash}, there it is {own}"
        raise RunError(f"{what}; {remedy}", file=file)


@lru_cache
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _check_form(content: str, rows: list[list[str]]) -> None:
    """Raise ValueError for anything but a whole table: a header, and as many values in each row."""
    if not rows or not content.endswith("\n"):
        raise ValueError("it is cut off" if rows else "it is empty")
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(rows[0]):
            raise ValueError(f"row {number} has {len(row)} values where the head has {len(rows[0])}")


def _check_numbers(name: str, cells: Iterable[str]) -> None:
    """Raise ValueError for a cell that is no finite number, no share of 1, or no number of a trial, by its column."""
    for number, cell in enumerate(cells, start=1):
        try:
            value = float(cell or 0) if cell.isascii() and "_" not in cell else math.nan  # as pandas reads them
        except ValueError:
            value = math.nan
        if name == "trial":
            right, expected = cell.isdecimal() and len(cell) < 10, "the number of a trial"
        elif name in SHARES:
            right, expected = 0 <= value <= 1, "a share of 1"
        else:
            signed = name.startswith("delta_") or name == "kl"  # rounding left a KL of 0 below it before 0.2
            least = -math.inf if signed else 0
            right, expected = math.isfinite(value) and value >= least, "a number"
        if not right:
            raise ValueError(f"row {number}: expected {expected} in column {name}, found {shown(cell)}")
