from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from timm.data.distributed_sampler import RepeatAugSampler

from nas.data import Augment, Split, load
from nas.data.augment import draw
from nas.data.pictures import Form
from nas.data.policy import Policy, draw_seeds

NAMES = ["randaugment", "trivialaugment", "autoaugment", "autoaugment_cifar10", "autoaugment_svhn", "three_augment"]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def shown(split: Split, augment: Augment) -> torch.Tensor:
    return torch.cat([images for images, _ in split.batches(7, seed=3, augment=augment)])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_follows_from_its_seed(name: str, channels: int) -> None:
    policy = Policy(Augment(auto_augment=name, color_jitter=0.3), Form(8, channels), [128.0] * channels)  # type: ignore[arg-type]
    images = torch.randint(256, (40, channels, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    made = policy(images, range(40))
    assert made.shape == images.shape and made.dtype == torch.uint8
    assert torch.equal(torch.get_rng_state(), state), "the global stream is left alone"
    assert torch.equal(made[30:], policy(images[30:], range(30, 40)))
    assert (made != images).flatten(1).any(1).float().mean() > 0.5
    assert not torch.equal(made, policy(images, range(40, 80)))


@pytest.mark.parametrize("size", [1, 2, 4, 32])
def test_the_blur_fits_images_of_any_size(size: int) -> None:
    policy = Policy(Augment(auto_augment="three_augment"), Form(size, 3), [0.0] * 3)
    assert policy(torch.zeros(8, 3, size, size, dtype=torch.uint8), range(8)).shape == (8, 3, size, size)


def test_the_other_draws_do_not_move() -> None:
    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    assert torch.equal(draw(9, generators[0]), draw(9, generators[1]))
    assert torch.equal(draw_seeds(9, generators[0]), draw_seeds(9, generators[1]))
    train = load("digits", limit=100).train
    plain, identity = shown(train, Augment()), shown(train, Augment(auto_augment="randaugment", ra_magnitude=0))
    same = (plain == identity).flatten(1).all(1).float().mean()
    assert same > 0.3, "what RandAugment leaves as it is, is cropped as without"


@pytest.mark.parametrize("area", [1.0, 0.4])
def test_any_number_of_processes_gives_the_same_images(
    tmp_path: Path, write_folder: Callable[..., Path], threads: Callable[[int], None], area: float
) -> None:
    path = write_folder(tmp_path / "pets", {"cat": 12, "dog": 12}, size=16)
    augment = Augment(min_area=area, auto_augment="randaugment", color_jitter=0.2, repeats=2, erase=0.5)
    split = load(f"imagefolder:{path}", size=16, resident_bytes=0).train
    threads(1)
    alone = shown(split, augment)
    threads(2)
    assert torch.equal(alone, shown(split, augment))
    if area == 1:
        assert torch.equal(alone, shown(load(f"imagefolder:{path}", size=16).train, augment))


def test_repeated_augmentation_shows_what_timms_sampler_shows() -> None:
    train = load("digits", limit=100).train
    sampler = RepeatAugSampler(range(len(train)), num_replicas=1, rank=0, num_repeats=3, selected_round=0)
    sampler.set_epoch(11)
    labels = torch.cat([labels for _, labels in train.batches(8, seed=11, augment=Augment(repeats=3))])
    assert torch.equal(labels, train.labels_N[list(sampler)])
