"""Images that are in training and in a split held out: said with an example, whichever way they are stored."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from nas.data import account_of, copies, load

Write = Callable[..., Path]


@pytest.mark.parametrize(("held", "split"), [("test", "test"), ("val", "validation")])
def test_files_that_are_copies(tmp_path: Path, write_folder: Write, held: str, split: str) -> None:
    counts = {f"{part}/{name}": 8 for part in ("train", "val", "test") for name in ("cat", "dog")}
    folder = write_folder(tmp_path / "pets", counts)
    assert account_of(load(f"imagefolder:{folder}"))["notes"] == []
    for at in (2, 5):
        shutil.copy(folder / f"train/cat/00{at}.png", folder / held / f"dog/copy{at}.png")
    (note,) = account_of(load(f"imagefolder:{folder}"))["notes"]
    count = 18
    pair = f"such as {folder}/{held}/dog/copy2.png and {folder}/train/cat/002.png"
    assert note == f"2 of {count} {split} images are training images as well, byte for byte, {pair}"


@pytest.mark.parametrize("memory", [2**30, 0])
def test_rows_that_are_copies(
    tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Write, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.data.sources.parquet.IN_MEMORY_BYTES", memory)
    images = noise(20)
    write_parquet(tmp_path / "train-0.parquet", images[:16], [0, 1] * 8)
    write_parquet(tmp_path / "test-0.parquet", images[12:], [0, 1] * 4)
    loaded = load(f"parquet:{tmp_path}", validation=0)
    (note,) = account_of(loaded)["notes"]
    pair = f"such as {tmp_path}/test-0.parquet: row 0 and {tmp_path}/train-0.parquet: row 12"
    assert note == f"4 of 8 test images are training images as well, byte for byte, {pair}"


def test_a_large_split_is_looked_at_here_and_there(
    tmp_path: Path, write_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "LOOKED_AT", 3)
    folder = write_folder(tmp_path / "pets", {"train/cat": 8, "train/dog": 8, "test/cat": 8, "test/dog": 8})
    shutil.copy(folder / "train/cat/001.png", folder / "test/cat/000.png")
    (note,) = account_of(load(f"imagefolder:{folder}", validation=0))["notes"]
    assert note.startswith("1 of 3 test images looked at are training images as well")
