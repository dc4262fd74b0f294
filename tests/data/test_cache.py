from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from nas.cache import cache_file
from nas.data.cache import keep


def make(folder: Path) -> torch.Tensor:
    with (folder / "made").open("a") as file:
        file.write("once\n")
    time.sleep(0.3)
    return torch.arange(24, dtype=torch.uint8).reshape(2, 3, 4)


def test_those_who_want_the_same_images_at_once_wait_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads here: the lock belongs to an open file, and does not care whose it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(keep, cache_file("images", ".npy"), lambda: make(tmp_path)) for _ in range(3)]
    assert [int(one.result().sum()) for one in asked] == [276] * 3
    assert len((tmp_path / "made").read_text().split()) == 1
    assert len(list((tmp_path / "cache" / "nas").iterdir())) == 1, "locks are removed"


def test_without_a_place_to_keep_them_images_are_made_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        assert keep(cache_file("images", ".npy"), lambda: make(tmp_path)).sum() == 276
    assert len((tmp_path / "made").read_text().split()) == 2
