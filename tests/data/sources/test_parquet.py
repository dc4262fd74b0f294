from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nas.data import load
from nas.data.registry import read
from nas.data.sources import parquet
from nas.errors import DataError
from tests.data.conftest import pixels, png

Write = Callable[..., Path]
CIFAR10 = Path(__file__).parents[3] / "../shared/data/cifar10"


@pytest.fixture
def hub(tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Write) -> Path:
    """30 training images in two files, 10 test images; classes alternate."""
    images = noise(30)
    write_parquet(tmp_path / "hub/data/train-00000-of-00002.parquet", images[:20], [0, 1] * 10)
    write_parquet(tmp_path / "hub/data/train-00001-of-00002.parquet", images[20:], [0, 1] * 5)
    write_parquet(tmp_path / "hub/data/test-00000-of-00001.parquet", noise(10, seed=1), [1, 0] * 5)
    return tmp_path / "hub"


def bytes_of(images: torch.Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """The uint8 NHWC images behind a normalised batch."""
    mean_C11, std_C11 = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return ((images * std_C11 + mean_C11) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("resident_bytes", [0, 2**20])
def test_pixels_labels_and_names_arrive(hub: Path, noise: Callable[..., np.ndarray], resident_bytes: int) -> None:
    images = load(f"parquet:{hub}", resident_bytes=resident_bytes)
    assert (images.classes, images.channels, images.size) == (("cat", "dog"), 3, 8)
    assert (len(images.train), len(images.validation), len(images.test)) == (24, 6, 10)
    batch, labels = next(images.test.batches(10))
    assert np.array_equal(bytes_of(batch, images.preprocess.mean, images.preprocess.std), noise(10, seed=1))
    assert labels.tolist() == [1, 0] * 5
    batch, labels = next(images.train.batches(30))
    assert np.array_equal(
        bytes_of(batch, images.preprocess.mean, images.preprocess.std), noise(30)[images.train.subset.indices]
    )
    assert np.array_equal(labels, images.train.subset.indices % 2)


def test_few_images_are_decoded_alone_and_many_once(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original = parquet.ParquetImages.original
    monkeypatch.setattr(
        parquet.ParquetImages, "original", lambda self, i, channels: (read.append(i), original(self, i, channels))[1]
    )
    load(f"parquet:{hub}", limit=6)
    assert len(read) == 6  # none twice
    read.clear()
    first = next(load(f"parquet:{hub}").train.batches(24))[0]
    assert len(read) == 30
    read.clear()
    again = next(load(f"parquet:{hub}").train.batches(24))[0]  # another load, as in another process
    load(f"parquet:{hub}", limit=12)
    assert read == []
    assert torch.equal(first, again)


def test_a_changed_file_is_decoded_again(
    tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Write
) -> None:
    file = tmp_path / "train-0.parquet"
    write_parquet(file, noise(20), [0, 1] * 10)
    before = load(f"parquet:{tmp_path}").preprocess
    write_parquet(file, noise(20, seed=5), [0, 1] * 10)
    assert load(f"parquet:{tmp_path}").preprocess != before


def test_an_unwritable_cache_is_no_obstacle(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(hub / "data/test-00000-of-00001.parquet"))  # a file, not a folder
    assert len(load(f"parquet:{hub}").train) == 24


def test_a_large_set_is_unpacked_and_mapped(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = next(load(f"parquet:{hub}", resident_bytes=0).train.batches(24))[0]
    monkeypatch.setattr(parquet, "IN_MEMORY_BYTES", 0)
    mapped = load(f"parquet:{hub}", resident_bytes=0)
    assert torch.equal(next(mapped.train.batches(24))[0], expected)


def test_plain_bytes_without_metadata(tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Write) -> None:
    write_parquet(tmp_path / "train-0.parquet", noise(20, channels=1), [0, 1] * 10, names=None, plain=True)
    images = load(f"parquet:{tmp_path}")
    assert (images.classes, images.channels) == (("0", "1"), 1)
    assert len(images.test) == 4  # carved


def test_official_validation(tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Write) -> None:
    """With a test split it is for validation; without one, or without its labels, it is the test split."""
    write_parquet(tmp_path / "train-0.parquet", noise(20), [0, 1] * 10)
    write_parquet(tmp_path / "validation-0.parquet", noise(6, seed=1), [0, 1] * 3)
    images = load(f"parquet:{tmp_path}")
    assert (len(images.train), len(images.validation), len(images.test)) == (16, 4, 6)
    write_parquet(tmp_path / "test-0.parquet", noise(8, seed=2), [-1] * 8)
    assert len(load(f"parquet:{tmp_path}").test) == 6
    write_parquet(tmp_path / "test-0.parquet", noise(8, seed=2), [0, 1] * 4)
    images = load(f"parquet:{tmp_path}")
    assert (len(images.train), len(images.validation), len(images.test)) == (20, 6, 8)
    limited = load(f"parquet:{tmp_path}", limit=10)
    assert (len(limited.train), len(limited.validation), len(limited.test)) == (8, 2, 8)
    images = load(f"parquet:{tmp_path}", validation=0)
    assert (len(images.train), len(images.validation), len(images.test)) == (26, 0, 8)
    joined, labels = next(images.train.batches(26))
    expected = np.concatenate([noise(20), noise(6, seed=1)])
    assert np.array_equal(bytes_of(joined, images.preprocess.mean, images.preprocess.std), expected)
    assert labels.tolist() == [0, 1] * 13


def test_a_damaged_image_names_file_and_row(
    tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Write
) -> None:
    images: list[object] = [*noise(20)]
    images[13] = b"not an image"
    file = write_parquet(tmp_path / "train-0.parquet", images, [0, 1] * 10)
    with pytest.raises(DataError, match=rf"{file}: row 13: not an image that can be read \(12 bytes\)"):
        load(f"parquet:{tmp_path}")
    images[13] = None
    write_parquet(file, images, [0, 1] * 10)
    with pytest.raises(DataError, match=rf"{file}: row 13: no bytes in column 'image'"):
        load(f"parquet:{tmp_path}")


def test_a_damaged_image_of_a_later_file_names_that_file(
    hub: Path, noise: Callable[..., np.ndarray], write_parquet: Write
) -> None:
    file = hub / "data/train-00001-of-00002.parquet"
    write_parquet(file, [*noise(9), b"GIF89a"], [0, 1] * 5)
    with pytest.raises(DataError, match=rf"{file}: row 9: "):
        load(f"parquet:{hub}")


def test_a_damaged_file_is_named(hub: Path) -> None:
    file = hub / "data/train-00001-of-00002.parquet"
    whole = file.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"PAR1" + bytes(len(whole) - 8) + b"PAR1"):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{file}: not readable as parquet"):
            load(f"parquet:{hub}")


def test_damaged_pages_are_found(hub: Path) -> None:
    file = hub / "data/train-00001-of-00002.parquet"
    whole = bytearray(file.read_bytes())
    whole[20:1000] = bytes(980)
    file.write_bytes(whole)
    with pytest.raises(DataError, match=str(file)):
        load(f"parquet:{hub}")


def test_a_missing_shard_is_noticed(hub: Path) -> None:
    (hub / "data/train-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=r"1 of the 2 files train-\*-of-00002\.parquet are here"):
        load(f"parquet:{hub}")


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no train-\*\.parquet here or in data/"):
        load(f"parquet:{tmp_path}")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 2, 0], ("cat", "dog"), "train image 2 has label 2, allowed: 0 to 1"),
        ([0, -1, 1, 0], ("cat", "dog"), "train image 1 has label -1"),
        ([0, 0, 0, 0], ("cat", "dog"), "no training image of class 'dog'"),
        ([0, 1, 10**12, 0], None, "train image 2 has label 1000000000000"),
        ([0, None, 1, 1], ("cat", "dog"), "column 'label' has 1 empty cells"),
    ],
)
def test_labels_that_do_not_index_the_classes(
    tmp_path: Path,
    noise: Callable[..., np.ndarray],
    write_parquet: Write,
    labels: list[int | None],
    names: tuple[str, ...] | None,
    message: str,
) -> None:
    write_parquet(tmp_path / "train-0.parquet", noise(4), labels, names=names)
    with pytest.raises(DataError, match=message):
        load(f"parquet:{tmp_path}")


def test_a_label_is_named_as_its_file_has_it(
    tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Write
) -> None:
    write_parquet(tmp_path / "train-0.parquet", noise(8), [1, 2] * 4, names=None)
    write_parquet(tmp_path / "test-0.parquet", noise(2), [2, 3], names=None)
    with pytest.raises(DataError, match="test image 1 has label 3, allowed: 1 to 2"):
        load(f"parquet:{tmp_path}")


def test_columns_that_cannot_be_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "train-0.parquet"
    pq.write_table(pa.table({"picture": [b"x"], "age": [1], "height": [2]}), path)
    with pytest.raises(
        DataError, match=r"several columns could be labels \(whole numbers, or text if .*age: int64, height: int64"
    ):
        load(f"parquet:{tmp_path}")
    pq.write_table(pa.table({"text": ["x"], "label": [1]}), path)
    with pytest.raises(DataError, match=r"no column of images.*text: string"):
        load(f"parquet:{tmp_path}")


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Validation"])
@pytest.mark.parametrize("form", ["{}-00000-of-00001.parquet", "{}.parquet", "{}_0.parquet", "{}/0000.parquet"])
def test_splits_by_any_usual_name(
    tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Write, name: str, form: str
) -> None:
    for split, count in (("train", 20), (name, 6), ("test", 8)):
        write_parquet(tmp_path / "download" / form.format(split), noise(count), [0, 1] * (count // 2))
    raw = read(f"parquet:{tmp_path}")
    assert raw.validation is not None and raw.test is not None and raw.notes == ()
    assert (len(raw.train), len(raw.validation), len(raw.test)) == (20, 6, 8)


def test_files_of_older_uploads_end_in_a_hash_and_all_are_read(
    tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Write
) -> None:
    hashes = ("1a2b3c4d5e6f7a8b", "0000000000000000", "ffffffffffffffff")
    files = [tmp_path / f"data/train-0000{i}-of-00003-{end}.parquet" for i, end in enumerate(hashes)]
    for file in files:
        write_parquet(file, noise(8), [0, 1] * 4)
    assert len(read(f"parquet:{tmp_path}").train) == 24
    files[1].unlink()
    with pytest.raises(DataError, match=r"2 of the 3 files train-\*-of-00003\.parquet are here"):
        read(f"parquet:{tmp_path}")
    write_parquet(tmp_path / "data/train-00000-of-00003.parquet", noise(8), [0, 1] * 4)
    with pytest.raises(DataError, match="are of several versions of one split"):
        read(f"parquet:{tmp_path}")


def test_files_of_no_split_are_said(hub: Path, noise: Callable[..., np.ndarray], write_parquet: Write) -> None:
    write_parquet(hub / "data/unsupervised.parquet", noise(2), [0, 1])
    assert read(f"parquet:{hub}").notes == ("skipped files of no split: unsupervised.parquet",)
    write_parquet(hub / "data/dev.parquet", noise(2), [0, 1])
    write_parquet(hub / "data/validation.parquet", noise(2), [0, 1])
    with pytest.raises(DataError, match="dev and validation all look like the validation split"):
        read(f"parquet:{hub}")
    with pytest.raises(DataError, match=r"no train-.*; found cats\.parquet"):
        read(f"parquet:{write_parquet(hub / 'other/cats.parquet', noise(2), [0, 1]).parent}")


def table(labels: list[object], *, features: object = None, **columns: object) -> pa.Table:
    made = pa.table({"image": [png(image) for image in pixels(len(labels))], "label": labels} | columns)
    return made if features is None else made.replace_schema_metadata({"huggingface": json.dumps(features)})


def test_text_labels_are_classes(tmp_path: Path) -> None:
    pq.write_table(table(["dog", "cat", "dog", "cat"] * 3, width=[8] * 12), tmp_path / "train.parquet")
    pq.write_table(table(["cat", "dog"]).cast(pa.schema([("image", pa.binary()), ("label", pa.large_string())])),
                   tmp_path / "test.parquet")  # fmt: skip
    raw = read(f"parquet:{tmp_path}")
    assert raw.test is not None and raw.classes == ("cat", "dog")
    assert (raw.train.labels.tolist(), raw.test.labels.tolist()) == ([1, 0, 1, 0] * 3, [0, 1])
    pq.write_table(table(["cat", "dgo"]), tmp_path / "test.parquet")
    with pytest.raises(DataError, match=r"test.parquet: column 'label': label 'dgo'.*did you mean dog\?"):
        read(f"parquet:{tmp_path}")
    pq.write_table(table([None, None]), tmp_path / "test.parquet")
    raw = read(f"parquet:{tmp_path}")
    assert raw.test is None and raw.notes == ("left out the test files: they have no rows, or no labels",)


@pytest.mark.parametrize(
    ("train", "test", "classes", "found"),
    [
        ([1, 2, 3] * 2, [3, 1], ("1", "2", "3"), [2, 0]),
        ([0, 1, 2] * 2, [1, 2], ("0", "1", "2"), [1, 2]),
        ([True, False], [False, False], ("false", "true"), [0, 0]),
        ([0, 1], [-1, -1], ("0", "1"), None),
        ([0, 1], [], ("0", "1"), None),
    ],
)
def test_labels_without_names(
    tmp_path: Path, train: list[object], test: list[object], classes: tuple[str, ...], found: list[int] | None
) -> None:
    pq.write_table(table(train), tmp_path / "train.parquet")
    pq.write_table(table(test), tmp_path / "test.parquet")
    raw = read(f"parquet:{tmp_path}")
    assert raw.classes == classes
    assert (raw.test.labels.tolist() if raw.test is not None else None) == found


def test_a_test_split_without_a_column_of_labels_is_absent(hub: Path) -> None:
    pq.write_table(table([0] * 3).drop(["label"]), hub / "data/test-00000-of-00001.parquet")
    raw = read(f"parquet:{hub}")
    assert raw.test is None and raw.notes == ("left out the test files: they have no rows, or no labels",)


@pytest.mark.parametrize(
    ("features", "classes"),
    [
        ({"info": {"features": {"label": {"_type": "ClassLabel", "names": {"0": "cat", "1": "dog"}}}}}, ("cat", "dog")),
        ({"info": {"features": {"label": {"_type": "ClassLabel", "names": None}}}}, ("0", "1")),
        ({"info": {"features": {"label": {"_type": "ClassLabel", "names": 3}}}}, ("0", "1")),
        ({"info": {"features": {"label": "ClassLabel"}}}, ("0", "1")),
        ({"info": {"features": ["label"]}}, ("0", "1")),
        ({"info": None}, ("0", "1")),
        ([], ("0", "1")),
    ],
)
def test_odd_metadata(tmp_path: Path, features: object, classes: tuple[str, ...]) -> None:
    pq.write_table(table([0, 1] * 5, features=features), tmp_path / "train.parquet")
    assert read(f"parquet:{tmp_path}").classes == classes


def test_files_that_differ_are_refused(hub: Path, noise: Callable[..., np.ndarray], write_parquet: Write) -> None:
    file = hub / "data/train-00001-of-00002.parquet"
    write_parquet(file, noise(10), [0, 1] * 5, names=("dog", "cat"))
    with pytest.raises(DataError, match=rf"{file}: its class names differ .*: 'dog' in place of 'cat'"):
        read(f"parquet:{hub}")
    pq.write_table(table(["cat", "dog"]), file)
    with pytest.raises(DataError, match=rf"{file}: column 'label' is string, which is not what the first"):
        read(f"parquet:{hub}")
    pq.write_table(table([0, 1]).rename_columns(["picture", "label"]), file)
    with pytest.raises(DataError, match=rf"{file}: no column 'image', which the first"):
        read(f"parquet:{hub}")
    write_parquet(file, noise(10), [0, 1] * 5, names=None, plain=True)  # bytes beside structs, and no names: the same
    assert next(load(f"parquet:{hub}").train.batches(24))[0].shape == (24, 3, 8, 8)


def test_no_rows_and_one_class_and_names_from_one(tmp_path: Path, write_parquet: Write) -> None:
    file = tmp_path / "train.parquet"
    for labels, names, message in (
        ([], ("cat", "dog"), "no rows in the training files"),
        ([-1, -1], ("cat", "dog"), "all 2 labels are empty or -1 in the training files"),
        ([0, 0], ("cat",), "one class, 'cat', teaches nothing"),
        ([0, 1], ("cat", "cat"), "two classes are called 'cat'"),
        ([1, 2], ("cat", "dog"), "labels are 1 to 2, and its 2 class names are numbered from 0; subtract 1"),
    ):
        write_parquet(file, list(pixels(len(labels))), labels, names=names)
        with pytest.raises(DataError, match=message):
            load(f"parquet:{tmp_path}")


@pytest.mark.skipif(not CIFAR10.is_dir(), reason="CIFAR-10 is not beside this checkout")
def test_cifar10() -> None:
    images = load(f"parquet:{CIFAR10}", limit=200)
    assert (images.channels, images.size, len(images.test)) == (3, 32, 10_000)
    assert images.classes[:2] == ("airplane", "automobile")
    assert torch.bincount(images.train.labels_N).tolist() == [16] * 10
    assert images.preprocess.mean == pytest.approx((0.49, 0.48, 0.45), abs=0.03)
    assert images.preprocess.std == pytest.approx((0.25, 0.24, 0.26), abs=0.03)
