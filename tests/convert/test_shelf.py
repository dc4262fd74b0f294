from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from nas.convert.shelf import Shelf, packed
from nas.engine.storage import Storage

PLACE = ("stages.0.layers.1", "linear")
CONTENT = {"rounds": 2, "attention": {"weight": torch.ones(3)}}


def test_a_piece_of_another_model_is_trained_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Shelf(tmp_path, "this").keep_piece(PLACE, CONTENT)
    found = Shelf(tmp_path, "this").piece(PLACE)
    assert found is not None and found["rounds"] == 2 and found.keys() == CONTENT.keys()
    assert Shelf(tmp_path, "other").piece(PLACE) is None
    assert "stages.0.layers.1-linear.pt belongs to another model" in caplog.text
    library = tmp_path / "library"
    (library / "stages.0.layers.1-linear.pt").rename(library / "stages.0.layers.2-linear.pt")
    assert Shelf(tmp_path, "this").piece(("stages.0.layers.2", "linear")) is None, "of another layer"


def test_a_piece_of_before_that_does_not_say_is_taken(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "stages.0.layers.1-linear.pt").write_bytes(packed(CONTENT))
    assert Shelf(tmp_path, "this").piece(PLACE) is not None


def test_a_storage_that_comes_later_gets_what_there_is(tmp_path: Path) -> None:
    Shelf(tmp_path / "run").keep_piece(PLACE, CONTENT)
    Shelf(tmp_path / "run", storage=Storage(str(tmp_path / "storage"), "run"))
    found = Shelf(tmp_path / "elsewhere", storage=Storage(str(tmp_path / "storage"), "run")).piece(PLACE)
    assert found is not None and found["rounds"] == 2


def test_a_pipe_in_the_place_of_a_file_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "scores.csv")
    with pytest.raises(OSError, match="a pipe or a device"):
        Shelf(tmp_path, "this")
    (tmp_path / "scores.csv").unlink()
    Shelf(tmp_path, "this").keep_piece(PLACE, CONTENT)
    (file,) = tmp_path.rglob("*.pt")
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(OSError, match="a pipe or a device"):
        Shelf(tmp_path, "this").piece(PLACE)
