"""Tar shards as webdataset documents them, written with tarfile."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data import load, tars
from nas.data.registry import read
from nas.errors import DataError
from tests.data.conftest import pixels, png

Member = tuple[str, bytes]


def write_tar(file: Path, members: Sequence[Member], format: int = tarfile.GNU_FORMAT) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", format=format) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def samples(count: int, *, start: int = 0, classes: int = 2, label: str = "cls", folder: str = "") -> list[Member]:
    """Noise with alternating labels."""
    members = []
    for number, image in enumerate(pixels(count, seed=start), start):
        said = str(number % classes) if label == "cls" else f'{{"label": {number % classes}, "width": 8}}'
        members += [(f"{folder}{number:04d}.png", png(image)), (f"{folder}{number:04d}.{label}", said.encode())]
    return members


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    write_tar(tmp_path / "hub/imagenet1k-train-0000.tar", samples(12))
    write_tar(tmp_path / "hub/imagenet1k-train-0001.tar", samples(8, start=12, label="json", folder="n01/"))
    write_tar(tmp_path / "hub/imagenet1k-validation-00.tar", samples(6, start=40))
    (tmp_path / "hub/_info.json").write_text("{}")
    return tmp_path / "hub"


@pytest.mark.parametrize("resident_bytes", [0, 2**20])
def test_pixels_and_labels_arrive(hub: Path, resident_bytes: int) -> None:
    raw = read(f"webdataset:{hub}")
    assert raw.classes == ("0", "1") and raw.notes == () and raw.test is None
    assert raw.train.labels.tolist() == [0, 1] * 10 and raw.validation is not None and len(raw.validation) == 6
    expected = [*pixels(12), *pixels(8, seed=12)]
    for index in range(20):
        assert np.array_equal(raw.train.original(index, 3).permute(1, 2, 0).numpy(), expected[index])
    images = load(f"webdataset:{hub}", resident_bytes=resident_bytes, validation=0)
    assert (len(images.train), len(images.test)) == (20, 6)
    assert torch.cat([y for _, y in images.train.batches(7)]).tolist() == [0, 1] * 10


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["imagenet-train-000000", "imagenet-train-000001", "imagenet-val-0"], (8, 4, None)),
        (["train/00000", "train/00001", "val/00000", "test/00000"], (8, 4, 4)),
        (["data/train-0", "data/test-0"], (4, None, 4)),
        (["00000", "00001"], (8, None, None)),
        (["data/shard-0", "data/shard-1", "data/shard-2"], (12, None, None)),
        (["train-0", "mnist-0", "00000"], (4, None, None)),
        (["shards/train-00000-of-00002", "shards/train-00001-of-00002"], (8, None, None)),
    ],
)
def test_splits_are_in_the_names(tmp_path: Path, names: list[str], found: tuple[int | None, ...]) -> None:
    for at, name in enumerate(names):
        write_tar(tmp_path / f"{name}.tar", samples(4, start=4 * at))
    raw = read(f"webdataset:{tmp_path}")
    assert tuple(None if part is None else len(part) for part in (raw.train, raw.validation, raw.test)) == found


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["mnist-0"], r"no train-\*.tar here or in data/; found mnist-0.tar"),
        (["test-0", "00000"], r"no train-\*.tar"),
        (["cifar-train-0", "imagenet-train-0"], "cifar train and imagenet train all look like the train split"),
        (["train-00000-of-00003", "train-00001-of-00003"], "2 of the 3 files train-.*-of-00003.tar are here"),
    ],
)
def test_shards_of_no_split_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        write_tar(tmp_path / f"{name}.tar", samples(4))
    with pytest.raises(DataError, match=message):
        read(f"webdataset:{tmp_path}")


def test_names_of_classes_beside_the_shards(hub: Path) -> None:
    (hub / "classes.txt").write_text("cat\ndog\n")
    raw = read(f"webdataset:{hub}")
    assert raw.classes == ("cat", "dog") and raw.notes == (f"class names are from {hub / 'classes.txt'}",)
    (hub / "classes.txt").write_text("n02012849 crane\nn03126707 crane\n")
    assert read(f"webdataset:{hub}").classes == ("crane (n02012849)", "crane (n03126707)")
    (hub / "classes.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"train-0000.tar: 0001.png: label 1; allowed: 0 to 0"):
        read(f"webdataset:{hub}")


def test_labels_from_one(tmp_path: Path) -> None:
    members = [(name, str(int(data) + 1).encode() if name.endswith("cls") else data) for name, data in samples(8)]
    write_tar(tmp_path / "train-0.tar", members)
    raw = read(f"webdataset:{tmp_path}")
    assert (raw.classes, raw.first) == (("1", "2"), 1) and raw.train.labels.tolist() == [0, 1] * 4
    assert read(f"webdataset:{tmp_path}").train.labels.tolist() == [0, 1] * 4  # from the cache


def test_other_members_are_passed_over(tmp_path: Path) -> None:
    image = png(pixels(1)[0])
    long = "a folder with a long name/" * 8
    for format in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT):
        deep = long if format != tarfile.USTAR_FORMAT else "n01/"
        write_tar(
            tmp_path / "train-0.tar",
            [
                ("README", b""),
                ("._a.png", b"of a Mac"),
                ("./a.JPG", image),
                ("./a.cls", b" 1\n"),
                ("./a.txt", b"a caption"),
                ("./a.json", b'{"label": 7}'),
                (deep + "b.input.png", image),
                (deep + "b.json", b'{"cls": 0}'),
            ],
            format,
        )
        raw = read(f"webdataset:{tmp_path}")
        assert raw.train.labels.tolist() == [1, 0]
        assert raw.train.original(1, 3).shape == (3, 8, 8)


IMAGE = png(pixels(1)[0])
GOOD = [("k/1.png", IMAGE), ("k/1.cls", b"0"), ("k/2.png", IMAGE), ("k/2.cls", b"1")]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([*GOOD, ("k/3.png", IMAGE)], r"sample 'k/3': no label; expected k/3.cls"),
        ([("k/3.png", IMAGE)], r"k/3.png: no label; expected k/3.cls"),
        ([("k/3.png", IMAGE), *GOOD], r"sample 'k/1': has label 0, while the samples before it have none"),
        ([*GOOD, ("k/3.cls", b"0"), ("k/4.png", IMAGE)], r"sample 'k/3': no image; expected a member with an ending"),
        ([*GOOD, ("k/2.jpg", IMAGE)], r"sample 'k/2': 2 images; expected one \(.jpg, "),
        ([*GOOD, ("k/3.png", IMAGE), ("k/3.cls", b"dog")], r"sample 'k/3': label 'dog' \(.cls\) is no whole number"),
        ([*GOOD, ("k/3.png", IMAGE), ("k/3.json", b'{"label": "0"}')], r"sample 'k/3': label .* is no whole number"),
        ([*GOOD, ("k/3.png", IMAGE), ("k/3.json", b'{"label"')], r"sample 'k/3': label .* \(.json\) is no whole"),
        ([*GOOD, ("k/3.png", IMAGE), ("k/3.json", b'{"width": 2}')], r"sample 'k/3': no label"),
        ([*GOOD, ("k/3.png", IMAGE), ("k/3.cls", b"-1")], r"sample 'k/3': label -1 \(.cls\); expected .* at least 0"),
        ([*GOOD, ("k/3.png", IMAGE), ("k/3.cls", b"5")], r"k/3.png: label 5, while no training image has label 2"),
        ([("notes.txt", b"")], "no samples with images in the training files"),
    ],
)
def test_what_is_wrong_names_shard_and_key(tmp_path: Path, members: list[Member], message: str) -> None:
    file = write_tar(tmp_path / "train-0.tar", members)
    with pytest.raises(DataError, match=message) as caught:
        read(f"webdataset:{tmp_path}")
    assert str(tmp_path if "samples with" in message else file) in str(caught.value)


def test_a_tar_that_is_cut_off(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "train-0.tar", samples(4))
    whole = file.read_bytes()
    end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
    for cut in (100, 700, 1024, 2000, 3072, end - 100, end, end + 100):
        file.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=rf"{file}: cut off or damaged") as caught:
            read(f"webdataset:{tmp_path}")
        assert cut < 1100 or "000" in str(caught.value), "the last member is named"
    file.write_bytes(whole[:2048] + b"\1" * 512 + whole[2560:])
    with pytest.raises(DataError, match="cut off or damaged"):
        read(f"webdataset:{tmp_path}")
    file.write_bytes(whole + whole)
    with pytest.raises(DataError, match=r"goes on behind its end, after 0003.cls; join tar files by"):
        read(f"webdataset:{tmp_path}")
    file.write_bytes(whole)
    assert len(read(f"webdataset:{tmp_path}").train) == 4


def test_compressed_tars_are_refused(tmp_path: Path) -> None:
    members = samples(4)
    write_tar(tmp_path / "train-0.tar", members)
    for name, mode in (("train-1.tar.gz", "w:gz"), ("train-1.tgz", "w:gz"), ("train-1.tar", "w:xz")):
        with tarfile.open(tmp_path / name, mode) as archive:  # type: ignore[call-overload]
            archive.addfile(tarfile.TarInfo("a.png"))
        with pytest.raises(DataError, match=rf"{tmp_path / name}: a compressed tar \(.*uncompress it"):
            read(f"webdataset:{tmp_path}")
        (tmp_path / name).unlink()


def test_validation_without_labels_is_left_out_and_said(hub: Path) -> None:
    write_tar(hub / "imagenet1k-test-0.tar", [member for member in samples(4) if member[0].endswith("png")])
    raw = read(f"webdataset:{hub}")
    assert raw.test is None and raw.notes == ("left out the test files: they have no images, or no labels",)


def test_headers_are_read_once(hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    made = tars._made
    monkeypatch.setattr(tars, "_made", lambda files: (passes.append(len(files)), made(files))[1])
    first, again = read(f"webdataset:{hub}"), read(f"webdataset:{hub}")
    assert passes == [2, 1] and np.array_equal(first.train.labels, again.train.labels)
    assert torch.equal(first.train.original(7, 3), again.train.original(7, 3))
    for kept in (tmp_path / ".cache/nas").glob("*.index"):  # one byte has changed
        blob = bytearray(kept.read_bytes())
        blob[len(blob) // 2] ^= 1
        kept.write_bytes(blob)
    assert np.array_equal(read(f"webdataset:{hub}").train.labels, first.train.labels) and passes == [2, 1, 2, 1]
    write_tar(hub / "imagenet1k-train-0001.tar", samples(4, start=12))
    assert len(read(f"webdataset:{hub}").train) == 16 and passes == [2, 1, 2, 1, 2]


def test_an_unwritable_cache_is_no_obstacle(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(hub / "_info.json"))  # a file, not a folder
    assert len(read(f"webdataset:{hub}").train) == 20


def test_a_damaged_image_names_shard_and_member(hub: Path) -> None:
    file = write_tar(hub / "imagenet1k-train-0001.tar", [*samples(3), ("n01/x.png", b"no image"), ("n01/x.cls", b"0")])
    with pytest.raises(DataError, match=rf"{file}: n01/x.png: not an image that can be read \(8 bytes\)"):
        load(f"webdataset:{hub}")
    raw = read(f"webdataset:{hub}")
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"{file}: .*of 8 bytes are there: the shard was cut off"):
        raw.train.original(15, 3)


def test_shards_of_the_same_size_with_other_images_have_another_digest(tmp_path: Path) -> None:
    members, digests = samples(40), []
    blobs = [data for name, data in members if name.endswith(".png")]
    for pictures in (blobs, blobs, blobs[::-1]):
        left = iter(pictures)
        changed = [(name, next(left).ljust(4000, b"\0") if name.endswith(".png") else data) for name, data in members]
        write_tar(tmp_path / "train-0000.tar", changed)  # behind a PNG's end anything may come
        digests.append(load(f"webdataset:{tmp_path}").digest)
    assert digests[0] == digests[1] != digests[2]
