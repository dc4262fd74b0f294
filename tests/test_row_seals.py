"""Rows that show what has changed in them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.engine.reading import read_table
from nas.errors import RunError
from nas.row_seals import ROW_SEAL, _seal, changed_row, write_sealed_table

CELLS = st.one_of(
    st.floats(allow_infinity=False), st.integers(-(10**18), 10**18), st.booleans(), st.text(max_size=5), st.none()
)
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=5)
)
FRONT = pd.DataFrame({"trial": ["0003", "0001"], "macs": [800_000, 600_000], "accuracy": [0.5, 1 / 3]})


def rows_of(file: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(file.read_text(), newline="")))


@given(cells=TABLES)
def test_what_is_written_has_not_changed(tmp_path_factory: pytest.TempPathFactory, cells: list[list[object]]) -> None:
    file = tmp_path_factory.mktemp("table") / "table.csv"
    table = pd.DataFrame(cells, columns=[f"c{k}" for k in range(len(cells[0]))])
    write_sealed_table(file, table)
    assert read_table(file).shape == table.shape
    with file.open(newline="") as opened:
        assert changed_row(list(csv.reader(opened))) is None


def test_a_reader_sees_the_table_without_its_seals(tmp_path: Path) -> None:
    write_sealed_table(tmp_path / "front.csv", FRONT)
    read = read_table(tmp_path / "front.csv", text=["trial"])
    pd.testing.assert_frame_equal(read, FRONT)
    write_sealed_table(tmp_path / "front.csv", FRONT[:0])
    assert read_table(tmp_path / "front.csv").empty


def test_a_spreadsheet_may_save_it(tmp_path: Path) -> None:
    file = tmp_path / "front.csv"
    write_sealed_table(file, FRONT.assign(known=True))
    saved = [[_saved(cell) for cell in row] for row in rows_of(file)]
    assert changed_row(saved) is None and saved != rows_of(file)


@given(value=st.floats(allow_infinity=False, allow_nan=False))
def test_a_number_of_15_digits_is_the_same_number(value: float) -> None:
    """Of 17 digits a spreadsheet keeps 15."""
    head, row = ["macs", ROW_SEAL], [repr(value), _seal(1, 1, ["macs"], [repr(value)])]
    assert changed_row([head, row]) is None
    assert changed_row([head, [f"{value:.15g}", row[1]]]) is None


def _saved(cell: str) -> str:
    return {"True": "TRUE", "0.5": "0.50", "0.3333333333333333": "0.333333333333333", "800000": "8E+05"}.get(cell, cell)


@pytest.mark.parametrize(("row", "column"), [(1, 0), (1, 1), (1, 2), (2, 0), (2, 2)])
def test_any_other_value_is_noticed(tmp_path: Path, row: int, column: int) -> None:
    file = tmp_path / "front.csv"
    write_sealed_table(file, FRONT)
    rows = rows_of(file)
    rows[row][column] = "0.31"
    file.write_text("\n".join(",".join(cells) for cells in rows) + "\n")
    with pytest.raises(RunError, match=rf"front\.csv: damaged \(row {row} has changed since it was written\)"):
        read_table(file)


def test_rows_that_are_gone_or_added_or_moved_are_noticed(tmp_path: Path) -> None:
    file = tmp_path / "front.csv"
    write_sealed_table(file, FRONT)
    head, first, last = rows_of(file)
    for rows in ([first], [last], [last, first], [first, first, last], [first, last, last]):
        assert "has changed since it was written" in (changed_row([head, *rows]) or "")
    assert changed_row([head, first, last]) is None


def test_columns_of_ones_own_behind_the_seals_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "front.csv"
    write_sealed_table(file, FRONT)
    pd.read_csv(file, dtype=str).assign(note="mine", accuracy_test="0.99").to_csv(file, index=False)
    pd.testing.assert_frame_equal(read_table(file, text=["trial"]), FRONT)
    pd.read_csv(file, dtype=str).assign(macs="1").to_csv(file, index=False)
    with pytest.raises(RunError, match="has changed since it was written"):
        read_table(file)
    write_sealed_table(file, FRONT)
    table = pd.read_csv(file, dtype=str)
    table[[ROW_SEAL, *(name for name in table if name != ROW_SEAL)]].to_csv(file, index=False)  # none is an addition
    assert read_table(file, text=["trial"]).shape == FRONT.shape


def test_without_the_column_a_change_is_the_users(tmp_path: Path) -> None:
    file = tmp_path / "front.csv"
    write_sealed_table(file, FRONT)
    table = pd.read_csv(file).assign(macs=1).drop(columns=ROW_SEAL)
    table.to_csv(file, index=False)
    assert read_table(file)["macs"].tolist() == [1, 1]
