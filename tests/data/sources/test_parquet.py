from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nas.data import load
from nas.data.sources import parquet
from nas.errors import DataError

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


def test_columns_that_cannot_be_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "train-0.parquet"
    pq.write_table(pa.table({"picture": [b"x"], "age": [1], "height": [2]}), path)
    with pytest.raises(DataError, match=r"several possible column of labels.*age: int64, height: int64"):
        load(f"parquet:{tmp_path}")
    pq.write_table(pa.table({"text": ["x"], "label": [1]}), path)
    with pytest.raises(DataError, match=r"no column of images.*text: string"):
        load(f"parquet:{tmp_path}")


@pytest.mark.skipif(not CIFAR10.is_dir(), reason="CIFAR-10 is not beside this checkout")
def test_cifar10() -> None:
    images = load(f"parquet:{CIFAR10}", limit=200)
    assert (images.channels, images.size, len(images.test)) == (3, 32, 10_000)
    assert images.classes[:2] == ("airplane", "automobile")
    assert torch.bincount(images.train.labels_N).tolist() == [16] * 10
    assert images.preprocess.mean == pytest.approx((0.49, 0.48, 0.45), abs=0.03)
    assert images.preprocess.std == pytest.approx((0.25, 0.24, 0.26), abs=0.03)
