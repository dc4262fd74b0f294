"""torchvision's own file formats, written small: nothing is downloaded here."""

from __future__ import annotations

import struct
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torchvision

from nas.data import load
from nas.data.sources.torchvision_sets import SETS
from nas.errors import DataError


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setenv("NAS_DATA", str(tmp_path))
    return tmp_path


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def test_a_set_of_arrays(root: Path, noise: Callable[..., np.ndarray]) -> None:
    for split, count in (("train", 40), ("t10k", 20)):
        raw = root / "MNIST/raw"
        write_idx(raw / f"{split}-images-idx3-ubyte", noise(count, size=28, channels=1))
        write_idx(raw / f"{split}-labels-idx1-ubyte", np.arange(count) % 10)
    images = load("mnist")
    assert (images.channels, images.size, images.flip, len(images.classes)) == (1, 28, False, 10)
    assert (len(images.train), len(images.validation), len(images.test)) == (32, 8, 20)


def test_a_set_of_files(root: Path, write_folder: Callable[..., Path]) -> None:
    write_folder(root / "eurosat/2750", {"Forest": 10, "River": 10})
    images = load("eurosat")
    assert (images.classes, images.channels, images.size) == (("Forest", "River"), 3, 8)
    assert len(images.test) == 4


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "dtd", "svhn"])
def test_without_network_the_message_says_where_the_files_belong(root: Path, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name} is not in {root} and cannot be downloaded .*NAS_DATA"):
        load(name)


def test_every_name_is_one_of_torchvisions() -> None:
    for known in SETS.values():
        assert hasattr(torchvision.datasets, known.class_name)
        assert "train" in known.splits
