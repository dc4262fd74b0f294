from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from nas.data import Augment, Split, load, streaming
from nas.data.augment import CROP_RATIO, rectangle
from nas.data.streaming import Streaming
from nas.errors import DataError

STRONG = Augment(min_area=0.4, erase=0.5)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def epoch(split: Split) -> torch.Tensor:
    return torch.cat([images for images, _ in split.batches(5, seed=3, augment=STRONG)])


def test_any_number_of_workers_gives_the_same_batches(
    tmp_path: Path, write_folder: Callable[..., Path], threads: Callable[[int], None]
) -> None:
    path = write_folder(tmp_path / "pets", {"cat": 12, "dog": 12}, size=12)
    split = load(f"imagefolder:{path}", size=8, resident_bytes=0).train
    assert isinstance(split, Streaming)
    threads(1)
    alone = epoch(split)
    threads(2)
    assert torch.equal(alone, epoch(split))


def test_every_image_of_every_epoch_has_a_crop_of_its_own(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    write_folder(tmp_path / "pets", {"cat": 1, "dog": 1}, size=48)
    for folder in ("cat", "dog"):
        for i in range(1, 20):
            (tmp_path / "pets" / folder / f"{i:03d}.png").write_bytes((tmp_path / "pets/cat/000.png").read_bytes())
    train = load(f"imagefolder:{tmp_path}/pets", resident_bytes=0).train
    shown = [next(train.batches(10, seed=seed, augment=Augment(min_area=0.3)))[0] for seed in (1, 2)]
    assert len(torch.cat(shown).flatten(1).unique(dim=0)) == 20


@pytest.mark.parametrize("count", [1, 2])
def test_a_damaged_image_is_one_clear_message_from_a_worker_too(
    tmp_path: Path, write_folder: Callable[..., Path], threads: Callable[[int], None], count: int
) -> None:
    path = write_folder(tmp_path / "pets", {"cat": 12, "dog": 12})
    images = load(f"imagefolder:{path}", resident_bytes=0)
    broken = images.train.subset.pictures.where(int(images.train.subset.indices[3]))  # type: ignore[attr-defined]
    Path(broken).write_bytes(Path(broken).read_bytes()[:60])
    threads(count)
    with pytest.raises(DataError) as caught:
        epoch(images.train)
    assert str(caught.value).startswith(broken)
    assert "\n" not in str(caught.value)


def test_digits_are_not_mirrored_here_either() -> None:
    train = load("digits", limit=40, resident_bytes=0).train
    plain = torch.cat([x for x, _ in train.batches(8, seed=1)])
    assert torch.equal(plain, torch.cat([x for x, _ in train.batches(8, seed=1, augment=Augment(crop_padding=0))]))


@pytest.mark.parametrize("area", [1.0, 0.5])
def test_half_of_the_images_are_mirrored_and_the_others_as_they_were(photos: Path, area: float) -> None:
    train = load(f"imagefolder:{photos}", size=32, resident_bytes=0).train
    plain, mirrored = (
        torch.cat([x for x, _ in train.batches(8, seed=1, augment=Augment(min_area=area, crop_padding=0, flip=flip))])
        for flip in (False, True)
    )
    turned = [torch.equal(image, shown.flip(-1)) for image, shown in zip(plain, mirrored, strict=True)]
    assert all(torch.equal(i, m) != t for i, m, t in zip(plain, mirrored, turned, strict=True))
    assert 3 < sum(turned) < len(turned) - 3


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """JPEGs of 200×160, smooth, with a corner of their own; the last is turned by its EXIF orientation."""
    random = np.random.default_rng(0)
    for index in range(24):
        folder = tmp_path / "photos" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(random.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize((160, 200), Image.BICUBIC)
        exif = Image.Exif()
        exif[274] = 6 if index == 23 else 1
        image.save(folder / f"{index:02d}.jpg", quality=95, exif=exif)
    return tmp_path / "photos"


def test_processes_stay_from_epoch_to_epoch_and_are_gone_with_the_split(
    photos: Path, threads: Callable[[int], None]
) -> None:
    split = load(f"imagefolder:{photos}", size=32, resident_bytes=0).train
    threads(1)
    expected = [torch.cat([x for x, _ in split.batches(4, seed=s, augment=STRONG)]) for s in (1, 2)]
    threads(2)
    for seed, wanted in zip((1, 2), expected, strict=True):
        assert torch.equal(torch.cat([x for x, _ in split.batches(4, seed=seed, augment=STRONG)]), wanted)
    assert isinstance(split, Streaming) and split._kept is not None
    processes = list(split._kept.loader._iterator._workers)  # type: ignore[union-attr]
    together = [torch.equal(a, b) for (a, _), (b, _) in zip(  # two epochs at the same time
        split.batches(4, seed=1, augment=STRONG), split.batches(4, seed=1, augment=STRONG), strict=True)]  # fmt: skip
    assert all(together)
    next(split.batches(4, seed=1, augment=STRONG))  # an epoch that is left early
    assert torch.equal(torch.cat([x for x, _ in split.batches(4, seed=2, augment=STRONG)]), expected[1])
    del split
    assert not any(process.is_alive() for process in processes)


@pytest.mark.parametrize("augment", [Augment(min_area=0.5, flip=False), Augment(crop_padding=0, flip=False)])
def test_training_decodes_a_reduced_jpeg_and_evaluation_never_does(
    photos: Path, augment: Augment, threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    threads(1)
    drafts: list[tuple[int, int]] = []
    draft = JpegImageFile.draft

    def noted(self: JpegImageFile, mode: str | None, size: tuple[int, int]) -> object:
        drafts.append(size)
        return draft(self, mode, size)

    monkeypatch.setattr(JpegImageFile, "draft", noted)
    split = load(f"imagefolder:{photos}", size=32, resident_bytes=0).train
    evaluated = next(split.batches(24))[0]
    assert drafts == []
    trained = torch.cat([x for x, _ in split.batches(24, seed=1, augment=augment)])
    assert len(drafts) == len(trained) and {max(size) for size in drafts} <= {100, 50}
    monkeypatch.setattr("nas.data.encoded.REDUCTIONS", (1,))
    whole = torch.cat([x for x, _ in split.batches(24, seed=1, augment=augment)])
    assert (trained - whole).abs().mean() < 0.06  # of a standard deviation: the same picture, but for the filter
    assert torch.equal(next(split.batches(24))[0], evaluated)


@given(
    st.integers(1, 500), st.integers(1, 500), st.tuples(*[st.floats(0, 1, exclude_max=True)] * 4), st.floats(0.05, 1)
)
def test_a_rectangle_lies_in_the_image(height: int, width: int, draws: tuple[float, ...], min_area: float) -> None:
    top, left, rows, columns = rectangle(height, width, draws, min_area)
    assert rows >= 1 and columns >= 1 and top >= 0 and left >= 0
    assert top + rows <= height and left + columns <= width
    if rows < height and columns < width and min(rows, columns) > 50:
        assert CROP_RATIO[0] * 0.95 < columns / rows < CROP_RATIO[1] * 1.05
        assert rows * columns > 0.9 * min_area * height * width


def test_a_small_shared_memory_is_named_and_done_without(
    photos: Path, threads: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    split = load(f"imagefolder:{photos}", size=64, resident_bytes=0).train
    threads(2)
    expected = epoch(split)
    streaming._warn_small.cache_clear()
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=60, f_frsize=4096))
    with caplog.at_level(logging.WARNING):
        assert torch.equal(epoch(split), expected)
        assert isinstance(split, Streaming) and split._kept is not None and split._kept.loader.num_workers == 0
        epoch(split)
    (record,) = caplog.records
    assert "in one process, which is slower: /dev/shm has 0 MB free and 1 MB are needed" in record.getMessage()
    assert "--shm-size=1m" in record.getMessage()
