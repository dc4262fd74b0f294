"""Files of a run that are not what was written are named, and never believed or a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.engine.evaluation import FILE, read_confusion, read_test
from nas.engine.reading import read_epochs, read_table
from nas.engine.tracking import MARKS, read_marks
from nas.errors import RunError

TABLE = "trial,accuracy,macs,hash\n0001,0.5,100,1e5\n0002,,90,\n"
TEST = {"accuracy": 0.75, "test_images": 4, "confusion": [[0, 0, 3], [0, 1, 1]]}


def read(file: Path) -> pd.DataFrame:
    return read_table(file, needed=["trial", "accuracy"], numbers=["trial", "accuracy", "macs"], text=["hash"])


def test_a_whole_table(tmp_path: Path) -> None:
    file = tmp_path / "front.csv"
    file.write_text(TABLE)
    table = read(file)
    assert table["hash"].iloc[0] == "1e5" and pd.isna(table["hash"].iloc[1])
    assert table["accuracy"].iloc[0] == 0.5 and pd.isna(table["accuracy"].iloc[1])
    file.write_bytes(TABLE.replace("\n", "\r\n").encode())  # of a spreadsheet, or of git on Windows
    pd.testing.assert_frame_equal(read(file), table)
    file.write_bytes(b"\xef\xbb\xbf" + TABLE.encode() + b"\n")
    pd.testing.assert_frame_equal(read(file), table)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (TABLE, "", "it is empty"),
        ("90,\n", "9", "it is cut off"),
        ("accuracy", "acuracy", "no column accuracy; its first line is"),
        ("0.5", "7.0", "row 1: expected a share of 1 in column accuracy, found '7.0'"),
        ("0.5", "nan", "expected a share of 1 in column accuracy"),
        ("0.5", "-0.5", "expected a share of 1 in column accuracy"),
        ("90", "many", "row 2: expected a number in column macs, found 'many'"),
        ("90", "inf", "row 2: expected a number in column macs"),
        ("0001", "1" * 30, "row 1: expected the number of a trial in column trial"),
        ("90", "-90", "row 2: expected a number in column macs"),
        ("0001", "", "row 1: expected the number of a trial in column trial, found ''"),
        ("0002,,90,", "0002,,90", "row 2 has 3 values where the head has 4"),
        ("0002", '"0002', "unexpected end of data"),
        ("0.5", "\udcff", "codec can't decode"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "front.csv"
    file.write_bytes(TABLE.replace(old, new, 1).encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=r"front\.csv: damaged \(") as caught:
        read(file)
    assert message in str(caught.value) and "delete it" in str(caught.value)


@given(st.binary(max_size=80))
def test_whatever_a_table_of_epochs_holds(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.mktemp("trial") / "metrics.csv"
    file.write_bytes(b"epoch,accuracy,seconds\n1,,2.5\n" + content)
    rows = read_epochs(file)
    assert not rows or rows[0] == {"epoch": 1.0, "seconds": 2.5}
    assert all("epoch" in row for row in rows)


def test_a_number_of_too_many_digits_is_named_under_any_key(tmp_path: Path) -> None:
    file = tmp_path / "test.json"
    file.write_text(f'{{"accuracy": 0.5, "test_images": 2, "more": {"9" * 5000}}}')
    with pytest.raises(RunError, match=r"test\.json: damaged \(no JSON: number out of range .*delete it"):
        read_test(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accuracy": 7.0}, "accuracy: damaged (expected at most 1, found 7.0)"),
        ({"accuracy": float("nan")}, "accuracy: damaged"),
        ({"accuracy": "0.75"}, "accuracy: damaged (expected a number"),
        ({"accuracy": 0.8}, "its accuracy is 0.8, and its confusion matrix has 3 of 4"),
        ({"test_images": 5}, "its confusion matrix has 3 of 4"),
        ({"test_images": None}, "test_images: damaged"),
        ({"confusion": [[0, 0]]}, "confusion.0.2: damaged (missing"),
        ({"confusion": [[0, -1, 4]]}, "confusion.0.1: damaged (expected at least 0, found -1)"),
        ({"confusion": []}, "damaged"),
    ],
)
def test_results_on_test_are_held_to_each_other(tmp_path: Path, change: dict, message: str) -> None:
    file = tmp_path / FILE
    assert read_test(tmp_path) == {} and read_confusion(tmp_path) is None
    file.write_text(json.dumps(TEST))
    assert read_test(tmp_path) == {"accuracy": 0.75, "test_images": 4}
    assert read_confusion(tmp_path) == [(0, 0, 3), (0, 1, 1)]
    file.write_text(json.dumps(TEST | change))
    with pytest.raises(RunError) as caught:
        read_test(tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"csv": 3}', '{"csv": {"epochs": -1}}', "\udcff"])
def test_damaged_marks_of_trackers_are_named(tmp_path: Path, content: str) -> None:
    (tmp_path / MARKS).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(RunError, match=rf"{MARKS}: .*damaged .*delete it"):
        read_marks(tmp_path)
