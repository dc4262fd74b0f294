from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data import Labels, check_fits, check_labelled, labelled, load
from nas.errors import DataError
from tests.data.conftest import pixels, png

Write = Callable[..., Path]


@pytest.fixture
def photos(tmp_path: Path, write_folder: Write) -> Path:
    folder = write_folder(tmp_path / "photos", {"2023": 30, "2024/summer": 30})
    (folder / ".thumbnails").mkdir()
    shutil.copy(folder / "2023/000.png", folder / ".thumbnails")
    (folder / "loose.png").write_bytes(png(pixels(1, seed=9)[0]))
    (folder / "notes.txt").write_text("not an image")
    return folder


def answers(photos: Path, *, size: int | None = None, seed: int = 0) -> Labels:
    images = load(f"images:{photos}", size=size, seed=seed)
    found = {name: tuple(i % 3 for i in range(len(getattr(images, name)))) for name in ("train", "validation", "test")}
    return Labels(classes=("a", "b", "c"), images=images.digest, **found)


def test_a_folder_is_read_to_any_depth_and_split_without_classes(photos: Path) -> None:
    images = load(f"images:{photos}")
    assert (images.classes, len(images.train), len(images.validation), len(images.test)) == ((), 39, 10, 12)
    paths = [s.subset.pictures.paths[i] for s in (images.train, images.validation, images.test)  # type: ignore[attr-defined]
             for i in s.subset.indices]  # fmt: skip
    assert len(set(paths)) == 61 and photos / "loose.png" in paths
    assert set(images.train.labels_N.tolist()) == {-1}
    again = load(f"images:{photos}", seed=1)
    assert np.array_equal(again.test.subset.indices, images.test.subset.indices)
    assert not np.array_equal(again.validation.subset.indices, images.validation.subset.indices)
    assert len(load(f"images:{photos}", limit=20).train) == 16


@pytest.mark.parametrize("resident_bytes", [2**30, 0])
def test_labels_reach_every_batch_with_their_images(photos: Path, resident_bytes: int) -> None:
    labels = answers(photos)
    bare = load(f"images:{photos}", resident_bytes=resident_bytes)
    images = labelled(bare, labels)
    assert images.classes == ("a", "b", "c")
    for name in ("train", "validation", "test"):
        split = getattr(images, name)
        assert type(split) is type(getattr(bare, name))
        assert split.labels_N.tolist() == list(getattr(labels, name))
        batches = list(split.batches(7, seed=3))
        own = {image.numpy().tobytes(): label for i, _ in [next(split.batches(100))]
               for image, label in zip(i, split.labels_N.tolist(), strict=True)}  # fmt: skip
        assert all(
            own[image.numpy().tobytes()] == int(label) for pair in batches for image, label in zip(*pair, strict=True)
        )
    assert torch.equal(next(images.test.batches(12))[0], next(bare.test.batches(12))[0])


def test_labels_are_refused_for_other_images(photos: Path) -> None:
    labels = answers(photos)
    assert answers(photos, size=16).images == labels.images  # in any size
    (photos / "loose.png").touch()
    labelled(load(f"images:{photos}"), labels)
    with pytest.raises(DataError, match="not those that the model has labelled"):
        labelled(load(f"images:{photos}", seed=1), labels)
    (photos / "loose.png").write_bytes((photos / "loose.png").read_bytes() + b"\0")
    with pytest.raises(DataError, match="not those that the model has labelled"):
        labelled(load(f"images:{photos}"), labels)


def test_they_fit_any_number_of_classes_and_teach_none(photos: Path) -> None:
    images = load(f"images:{photos}")
    check_fits(images, size=8, channels=3, classes=1000)
    with pytest.raises(DataError, match="channels"):
        check_fits(images, size=8, channels=1, classes=1000)
    with pytest.raises(DataError, match=r"no labels.*`nas convert`"):
        check_labelled(images)
    check_labelled(labelled(images, answers(photos)))


def test_a_folder_without_images_and_one_without_a_kind_are_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no images in this folder or below; looked for \.jpg"):
        load(f"images:{tmp_path / 'empty'}")
    with pytest.raises(DataError, match=rf"it is a folder: write imagefolder:{photos}, images:{photos}, parquet:"):
        load(str(photos))
    with pytest.raises(DataError, match=r"`nas convert`, write images:.*2023"):
        load(f"imagefolder:{photos / '2023'}")
