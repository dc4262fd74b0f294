"""Every source obeys the same rules. A new one joins by being registered; one that takes a path is given an example in
`EXAMPLES`. The sets that torchvision downloads are left out: their reader is tested with files of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data import load
from nas.data.pictures import UNKNOWN, Form
from nas.data.registry import SOURCES, read
from nas.data.sources.torchvision_sets import SETS
from nas.errors import DataError
from tests.data.conftest import pixels, png
from tests.data.sources.test_webdataset import write_tar

Write = Callable[..., Path]


def imagefolder(folder: Path, write_folder: Write, write_parquet: Write) -> Path:
    return write_folder(folder, {"cat": 10, "dog": 10})


def parquet(folder: Path, write_folder: Write, write_parquet: Write) -> Path:
    write_parquet(folder / "train-00000-of-00001.parquet", list(pixels(20)), [0, 1] * 10)
    return folder


def webdataset(folder: Path, write_folder: Write, write_parquet: Write) -> Path:
    members = [(f"{at}.{kind}", data) for at, image in enumerate(pixels(20))
               for kind, data in (("cls", str(at % 2).encode()), ("png", png(image)))]  # fmt: skip
    write_tar(folder / "train-0000.tar", members)
    return folder


EXAMPLES = {
    "imagefolder": imagefolder,
    "images": imagefolder,
    "parquet": parquet,
    "webdataset": webdataset,
}  # kind -> writes an example in a folder, returns its path
KINDS = [kind for kind in SOURCES if kind not in SETS]


@pytest.fixture(params=KINDS)
def text(request: pytest.FixtureRequest, tmp_path: Path, write_folder: Write, write_parquet: Write) -> str:
    """A source as a user writes it."""
    kind = request.param
    if not SOURCES[kind].takes:
        return kind
    return f"{kind}:{EXAMPLES[kind](tmp_path / 'example', write_folder, write_parquet)}"


def test_a_reader_says_what_there_is(text: str) -> None:
    raw, again = read(text), read(text)
    assert raw.name == text and len(set(raw.classes)) == len(raw.classes) != 1
    allowed = set(range(len(raw.classes))) or {UNKNOWN}
    for name in ("train", "validation", "test"):
        split, same = getattr(raw, name), getattr(again, name)
        if split is None:
            assert same is None
            continue
        assert same is not None and np.array_equal(split.labels, same.labels)
        assert split.labels.dtype == np.int64 and set(split.labels) <= allowed
        channels, sizes = split.survey()
        assert channels in (1, 3)
        image_CHW = split.original(len(split) - 1, channels)
        assert image_CHW.dtype == torch.uint8 and image_CHW.shape[0] == channels and image_CHW.shape[1:] in sizes
        asked_M = np.array([len(split) - 1, 0])
        stack, rows_M = split.resident(asked_M, Form(8, channels))
        images_MCSS = stack[torch.from_numpy(rows_M)]
        if image_CHW.shape[1:] == (8, 8):
            assert torch.equal(images_MCSS[0], image_CHW)
        assert images_MCSS.dtype == torch.uint8 and images_MCSS.shape == (2, channels, 8, 8)


def test_it_is_split_and_trained_on(text: str) -> None:
    images = load(text, size=8)
    for split in (images.train, images.validation, images.test):
        assert len(split)
        batch_BCSS, labels_B = next(split.batches(4))
        assert batch_BCSS.isfinite().all() and batch_BCSS.shape[1:] == (images.channels, 8, 8)
        assert labels_B.max() < len(images.classes)  # -1 without classes


@pytest.mark.parametrize("kind", [kind for kind in KINDS if SOURCES[kind].takes])
def test_a_path_that_does_not_fit_is_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    wrong, message = (file, "found a file") if SOURCES[kind].takes == "PATH" else (tmp_path, "found a directory")
    with pytest.raises(DataError, match=message):
        read(f"{kind}:{wrong}")
    with pytest.raises(DataError, match="no such"):
        read(f"{kind}:{tmp_path / 'absent'}")
    (tmp_path / "folder").mkdir()
    empty = tmp_path / "folder" if SOURCES[kind].takes == "PATH" else file
    with pytest.raises(DataError, match=str(tmp_path)):
        read(f"{kind}:{empty}")
