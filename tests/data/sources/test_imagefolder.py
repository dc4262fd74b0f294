from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data import encoded, load
from nas.errors import DataError

Write = Callable[..., Path]


def test_class_folders_alone(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"dog": 20, "cat": 10})
    (tmp_path / ".git").mkdir()
    (tmp_path / "README.txt").write_text("not an image")
    images = load(f"imagefolder:{tmp_path}")
    assert (images.classes, images.channels, images.size, images.flip) == (("cat", "dog"), 3, 8, True)
    assert np.bincount(images.test.labels_N).tolist() == [2, 4]
    assert np.bincount(load(f"imagefolder:{tmp_path}", validation=0).train.labels_N).tolist() == [8, 16]


def test_split_folders(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path / "train", {"cat": 10, "dog": 10})
    write_folder(tmp_path / "val", {"cat": 3, "dog": 3})
    images = load(f"imagefolder:{tmp_path}")
    assert (len(images.train), len(images.validation), len(images.test)) == (16, 4, 6)
    write_folder(tmp_path / "test", {"cat": 5, "dog": 5})
    images = load(f"imagefolder:{tmp_path}")
    assert (len(images.train), len(images.validation), len(images.test)) == (20, 6, 10)


def test_images_of_any_size_and_mode_are_brought_to_one_form(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for index in range(12):
        mode, suffix = (("RGB", "jpg"), ("L", "png"), ("RGBA", "png"), ("P", "gif"), ("CMYK", "tif"))[index % 5]
        folder = tmp_path / ("a" if index < 6 else "b") / "deeper"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20 + index, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).convert(mode).save(folder / f"{index}.{suffix}")
    with pytest.raises(DataError, match=r"30×20, 30×21, .*give a size"):
        load(f"imagefolder:{tmp_path}")
    images = load(f"imagefolder:{tmp_path}", size=16)
    assert next(images.train.batches(4))[0].shape == (4, 3, 16, 16)


def test_all_grey_images_have_one_channel(tmp_path: Path, write_folder: Write) -> None:
    assert load(f"imagefolder:{write_folder(tmp_path, {'a': 6, 'b': 6}, channels=1)}").channels == 1


def test_more_than_sixteen_bits_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        for index in range(5):
            Image.fromarray(np.full((8, 8), 3000, dtype=np.int32)).save(tmp_path / name / f"{index}.tiff")
    with pytest.raises(DataError, match=r"a/\d\.tiff: an image with 32 bits per channel"):
        load(f"imagefolder:{tmp_path}")


def test_threads_decode_what_one_does(tmp_path: Path, write_folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path, {"a": 20, "b": 20})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = next(load(f"imagefolder:{tmp_path}", size=6).train.batches(40))[0]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".other"))
    monkeypatch.setattr(encoded, "THREADED_BYTES", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert torch.equal(next(load(f"imagefolder:{tmp_path}", size=6).train.batches(40))[0], alone)


def test_a_truncated_image_is_named(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"a": 8, "b": 8}, size=32)
    broken = tmp_path / "b/002.png"
    broken.write_bytes(broken.read_bytes()[:500])
    with pytest.raises(DataError, match=rf"{broken}: a damaged image"):
        load(f"imagefolder:{tmp_path}")


def test_folders_that_are_no_dataset(tmp_path: Path, write_folder: Write) -> None:
    source = f"imagefolder:{tmp_path}"
    with pytest.raises(DataError, match="no class folders"):
        load(source)
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match=rf"{tmp_path}/a: no images in this class folder"):
        load(source)
    write_folder(tmp_path / "test", {"a": 2})
    with pytest.raises(DataError, match=r"has test/ but no train/"):
        load(source)
    write_folder(tmp_path / "train", {"aa": 9, "b": 9})
    with pytest.raises(DataError, match=r"test/a: a class that the training folder does not have.*did you mean aa\?"):
        load(source)
