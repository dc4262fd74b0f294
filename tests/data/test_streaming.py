from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from nas.data import Augment, Split, load
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
    write_folder(tmp_path / "pets", {"cat": 1, "dog": 1}, size=12)
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
