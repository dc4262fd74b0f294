from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data import encoded, load
from nas.data.registry import read
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


def test_split_folders_in_the_words_that_people_use(tmp_path: Path, write_folder: Write) -> None:
    for index, names in enumerate(
        [("Train", "Val", "Test"), ("training_set", "dev", "Testing"), ("seg_train/seg_train", "seg_val", "seg_test")]
    ):
        folder = tmp_path / str(index) / "download" / "pets"  # an archive, opened two levels too high
        for name, count in zip(names, (6, 3, 4), strict=True):
            write_folder(folder / name, {"cat": count, "dog": count})
        (folder / "labels.csv").write_text("")
        images = load(f"imagefolder:{tmp_path / str(index)}")
        assert (images.classes, len(images.train), len(images.validation), len(images.test)) == (
            ("cat", "dog"),
            12,
            6,
            8,
        )
        notes = read(f"imagefolder:{tmp_path / str(index)}").notes
        assert any(f"read from {folder}" in note for note in notes) and any("1 .csv" in note for note in notes)


def test_a_class_may_be_called_like_a_split(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"train": 8, "car": 8})
    assert load(f"imagefolder:{tmp_path}").classes == ("car", "train")
    write_folder(tmp_path / "quality", {"valid": 8, "invalid": 8})
    assert load(f"imagefolder:{tmp_path / 'quality'}").classes == ("invalid", "valid")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["cat"], "one class, 'cat', teaches nothing"),
        (["pets/cat"], "one class, 'cat'"),
        (["train/cat", "test/cat"], "one class, 'cat'"),
        (["train/cat", "train/dog", "val/cat", "valid/cat"], "val/, valid/ all look like the validation split"),
        (["cat/train", "cat/test", "dog/train", "dog/test"], r"contain splits \(cat/test/, cat/train/, dog/test/"),
        (["train", "test"], "train: no class folders, but 6 images without labels"),
        (["f1/cat", "f1/dog", "f2/cat", "f2/dog"], r"f1/, f2/ have the same folders .*look like the classes"),
    ],
)
def test_what_would_be_misread_is_refused(
    tmp_path: Path, write_folder: Write, folders: list[str], message: str
) -> None:
    write_folder(tmp_path, dict.fromkeys(folders, 6))
    with pytest.raises(DataError, match=message):
        load(f"imagefolder:{tmp_path}")


def test_classes_of_folders_are_said(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, dict.fromkeys(["animals/cat", "animals/dog", "birds/owl", "birds/hawk"], 6))
    found = load(f"imagefolder:{tmp_path}")
    assert found.classes == ("animals", "birds")
    assert any("images of animals/cat/ count as animals" in note for note in found.notes)
    one_each = write_folder(tmp_path / "tiny", dict.fromkeys(["n01/images", "n02/images"], 6))
    assert load(f"imagefolder:{one_each}").notes == ()


@pytest.mark.parametrize("test", ["test", "test/unknown"])
def test_a_test_split_without_labels_is_left_out_and_said(tmp_path: Path, write_folder: Write, test: str) -> None:
    write_folder(tmp_path, {"train/cat": 10, "train/dog": 10, test: 5, "extra": 2})
    raw = read(f"imagefolder:{tmp_path}")
    assert raw.test is None and len(raw.train) == 20
    assert any("its 5 images lie in no class folders" in note for note in raw.notes)
    assert "skipped folders beside the splits: extra/" in raw.notes


def test_links(tmp_path: Path, write_folder: Write) -> None:
    source = (
        f"imagefolder:{write_folder(tmp_path / 'data', {'train/cat': 8, 'train/dog': 8, 'test/cat': 4, 'test/dog': 4})}"
    )
    loop = tmp_path / "data/train/cat/all"
    loop.symlink_to(tmp_path / "data")
    raw = read(source)
    assert raw.test is not None and (len(raw.train), len(raw.test)) == (16, 8)
    assert raw.notes == (f"skipped 1 circular links, such as {loop}",)
    loop.unlink()
    loop.symlink_to(tmp_path / "data/test/cat")
    with pytest.raises(DataError, match=r"test/cat and .*train/cat/all are the same, by a link"):
        read(source)
    loop.unlink()
    (tmp_path / "data/train/dog/again.png").symlink_to(tmp_path / "data/test/dog/000.png")
    with pytest.raises(DataError, match="are the same, by a link: its images would count twice"):
        read(source)
    (tmp_path / "data/train/dog/again.png").unlink()
    for name in ("a.png", "b.png"):
        (tmp_path / "data/train/dog" / name).symlink_to("a.png" if name == "b.png" else "b.png")  # each is the other
    with pytest.raises(DataError, match=r"train/dog/a.png: 2 links lead nowhere, such as this \(to b.png\)"):
        read(source)


def test_links_to_a_store_elsewhere_are_images_like_others(tmp_path: Path, write_folder: Write) -> None:
    store = write_folder(tmp_path / "store", {"a": 8, "b": 8})
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        for file in (store / name).iterdir():
            (tmp_path / "set" / name / file.name).symlink_to(file)
    assert len(read(f"imagefolder:{tmp_path / 'set'}").train) == 16


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, write_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(path: Path) -> object:
        if path == tmp_path / "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    write_folder(tmp_path, {"a": 8, "b": 8})
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(DataError, match=rf"{tmp_path}/b: cannot be read: Permission denied"):
        read(f"imagefolder:{tmp_path}")


@pytest.fixture
def imagenet(tmp_path: Path, write_folder: Write) -> Path:
    """Kaggle's archive: a flat folder for validation and for test, and three files at the top."""
    images = tmp_path / "ILSVRC/Data/CLS-LOC"
    write_folder(images / "train", {"n01440764": 8, "n02012849": 8, "n03126707": 8})
    write_folder(images, {"val": 4, "test": 3})
    lines = ["n01440764 tench, Tinca tinca", "n02012849 crane", "n03126707 crane", "n09999999 unseen"]
    (tmp_path / "LOC_synset_mapping.txt").write_text("\n".join(lines) + "\n")
    synsets = ["n03126707 1 2 3 4 n03126707 5 6 7 8", "n01440764 1 2 3 4", "n02012849 1 1 1 1", "n01440764 2 2 2 2"]
    rows = [f"{number:03d},{synset}" for number, synset in enumerate(synsets)]
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *reversed(rows)]) + "\n")
    return tmp_path


@pytest.mark.parametrize("where", ["", "ILSVRC", "ILSVRC/Data/CLS-LOC"])
def test_imagenet_as_its_archive_has_it(imagenet: Path, where: str) -> None:
    raw = read(f"imagefolder:{imagenet / where}")
    assert raw.classes == ("tench", "crane (n02012849)", "crane (n03126707)")
    assert raw.validation is not None and raw.validation.labels.tolist() == [2, 0, 1, 0] and raw.test is None
    assert f"class names are from {imagenet / 'LOC_synset_mapping.txt'}" in raw.notes
    assert any("its 3 images lie in no class folders" in note for note in raw.notes)
    images = load(f"imagefolder:{imagenet / where}")
    assert images.test.labels_N.tolist() == [2, 0, 1, 0]


def test_folders_of_synsets_keep_their_names_without_the_file(imagenet: Path) -> None:
    (imagenet / "LOC_synset_mapping.txt").unlink()
    assert read(f"imagefolder:{imagenet}").classes == ("n01440764", "n02012849", "n03126707")
    train = imagenet / "ILSVRC/Data/CLS-LOC/train"
    (train / "classnames.txt").write_text("n02012849 crane bird\nn01440764\ttench\n")
    assert read(f"imagefolder:{train}").classes == ("tench", "crane bird", "n03126707")


def test_validation_images_that_the_solution_does_not_know(imagenet: Path) -> None:
    solution = imagenet / "LOC_val_solution.csv"
    rows = solution.read_text()
    solution.write_text(rows.replace("002,", "900,"))
    with pytest.raises(DataError, match=rf"{solution}: no line for the validation image '002.png'"):
        read(f"imagefolder:{imagenet}")
    solution.write_text(rows.replace("n02012849", "n01443537"))
    with pytest.raises(DataError, match=r"'002.png' is of class 'n01443537', which the training folder does not have"):
        read(f"imagefolder:{imagenet}")
    solution.unlink()
    assert read(f"imagefolder:{imagenet}").validation is None
