from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from nas.data import ImageSet, load
from nas.data.images import SAMPLE
from nas.data.pictures import Arrays
from nas.data.registry import Raw, source, source_names
from nas.data.sources import digits
from nas.data.split import Resident
from nas.data.streaming import Streaming
from nas.errors import DataError, SpecError
from nas.plugins import load_plugins
from nas.registry import Registry


def stack(images: ImageSet, split: str) -> torch.Tensor:
    return torch.cat([batch for batch, _ in getattr(images, split).batches(512)])


def test_digits() -> None:
    images = load("digits")
    assert (images.name, images.channels, images.size, images.flip) == ("digits", 1, 8, False)
    assert images.classes == tuple("0123456789")
    assert len(images.train) + len(images.validation) + len(images.test) == 1797
    assert len(images.test) == 359
    assert len(images.validation) == round(0.2 * (1797 - 359))


def test_digits_are_those_that_scikit_learn_loads() -> None:
    ours, theirs = digits.read("digits").train, load_digits()
    assert np.array_equal(ours.images[:, 0].numpy(), np.rint(theirs.images * (255 / 16)).astype(np.uint8))
    assert np.array_equal(ours.labels, theirs.target)


def test_splits_do_not_overlap_and_are_stratified() -> None:
    images = load("digits", seed=3)
    indices = [split.subset.indices for split in (images.train, images.validation, images.test)]
    assert np.array_equal(np.sort(np.concatenate(indices)), np.arange(1797))
    for split in (images.train, images.validation, images.test):
        share = torch.bincount(split.labels_N) / len(split)
        assert share.min() > 0.08
        assert share.max() < 0.12


def test_the_test_split_never_moves_and_validation_follows_the_seed() -> None:
    first, second = load("digits", seed=0), load("digits", seed=1, validation=0.3, limit=700)
    assert np.array_equal(first.test.subset.indices, second.test.subset.indices)
    assert first.test.subset.indices[:5].tolist() == [3, 7, 13, 19, 36]
    assert not np.array_equal(load("digits", seed=1).validation.subset.indices, first.validation.subset.indices)
    assert np.array_equal(load("digits", seed=0).validation.subset.indices, first.validation.subset.indices)


def test_limit_bounds_train_and_validation_together() -> None:
    images = load("digits", limit=101, validation=0.25)
    assert len(images.train) + len(images.validation) == 101
    assert len(images.train.labels_N.unique()) == 10
    assert len(load("digits", limit=10**6).train) == len(load("digits").train)


def test_without_validation_its_images_train() -> None:
    images, all_train = load("digits", limit=50), load("digits", limit=50, validation=0)
    parts = [images.train.subset.indices, images.validation.subset.indices]
    assert np.array_equal(all_train.train.subset.indices, np.sort(np.concatenate(parts)))
    assert np.array_equal(all_train.test.subset.indices, images.test.subset.indices)
    assert len(all_train.validation) == 0


def test_mean_and_std_are_those_of_the_training_split() -> None:
    images = load("digits")
    assert len(images.train) <= SAMPLE
    train_NCSS = stack(images, "train")
    assert train_NCSS.mean().abs() < 1e-5
    assert abs(train_NCSS.std(correction=0) - 1) < 1e-5


def test_a_resize_keeps_the_picture() -> None:
    native, large = load("digits"), load("digits", size=16)
    assert large.size == 16
    assert next(large.test.batches(4))[0].shape == (4, 1, 16, 16)
    shrunk = torch.nn.functional.avg_pool2d(stack(large, "test"), 2).flatten()
    assert torch.corrcoef(torch.stack([shrunk, stack(native, "test").flatten()]))[0, 1] > 0.95


def test_the_size_in_bytes_decides_between_resident_and_streaming() -> None:
    images = load("digits", resident_bytes=1000 * 64)  # train has 1150 images of 64 bytes, validation fewer
    assert isinstance(images.train, Streaming)
    assert isinstance(images.validation, Resident)


def test_every_source_is_found() -> None:
    assert {"digits", "cifar10", "fashion_mnist", "imagefolder:PATH", "parquet:PATH"} <= set(source_names())


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("cifar1", {}, r"no dataset is called 'cifar1'.*did you mean cifar10\?"),
        ("imagefolder", {}, "write imagefolder:PATH"),
        ("parquets:/data", {}, r"did you mean parquet:PATH\?"),
        ("parquet:", {}, "needs a path"),
        ("parquet:/no/such/place", {}, "no such directory: /no/such/place"),
        (f"parquet:{__file__}", {}, "parquet takes a directory, found a file: .*test_load.py"),
        ("digits", {"limit": 9}, "limit leaves 9 images; digits has 10 classes"),
        ("digits", {"limit": 10}, "the validation split is empty"),
        ("digits", {"validation": 1.0}, "validation is 1.0; expected a share of at least 0 and below 1"),
        ("digits", {"size": 0}, "size is 0"),
        ("digits", {"size": 10**9}, "size is 1000000000"),
    ],
)
def test_mistakes(source: str, options: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(source, **options)


@pytest.fixture
def toy() -> Iterator[None]:
    """A source of one file, whose images are all alike."""

    @source("Toy-Set:FILE")
    def read(path: Path) -> Raw:
        count = int(path.read_text())
        return Raw("toy", ("a", "b"), Arrays(torch.zeros(count, 3, 4, 4, dtype=torch.uint8), np.arange(count) % 2))

    yield
    Registry.forget(__name__)


@pytest.mark.usefixtures("toy")
def test_a_source_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "set.txt").write_text("20")
    images = load("toy_set:set.txt", base=tmp_path)
    assert (images.classes, images.channels, images.size) == (("a", "b"), 3, 4)
    assert torch.isfinite(next(images.train.batches(8))[0]).all()
    assert "toy_set:FILE" in source_names()
    with pytest.raises(DataError, match=rf"'toy-set:{tmp_path}': toy_set takes a file, found a directory: "):
        load(f"toy-set:{tmp_path}")
    with pytest.raises(DataError, match="no such file: /no/such/file"):
        load("toy_set:/no/such/file")
    with pytest.raises(DataError, match="no dataset is called 'toy_set'; write toy_set:FILE"):
        load("toy_set")


def test_a_reader_that_exits_is_named(tmp_path: Path) -> None:
    """A script that loads data would end there, with the exit code of success."""
    file = tmp_path / "odd.py"
    head = "import sys\nfrom nas.data.registry import source\n@source('odd')\n"
    file.write_text(f"{head}def read(name):\n    sys.exit()\n")
    load_plugins(file)
    try:
        with pytest.raises(SpecError, match=r"odd.py: the dataset 'odd': line 5, in read: SystemExit"):
            load("odd")
    finally:
        Registry.forget(sys.modules.pop("nas_plugin_odd").__name__)


def test_a_relative_path_starts_at_base(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    write_folder(tmp_path / "pets", {"cat": 8, "dog": 8})
    assert load("imagefolder:pets", base=tmp_path).classes == ("cat", "dog")
