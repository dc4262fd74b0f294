from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Generator, Tensor

from nas.data import Augment, load
from nas.data.augment import ERASED_AREA, crop_and_flip, draw, erase


def picture(batch: int = 64, channels: int = 3, size: int = 16, seed: int = 0) -> Tensor:
    shape = (batch, channels, size, size)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=Generator().manual_seed(seed))


def draws(count: int, seed: int = 0) -> Tensor:
    return draw(count, Generator().manual_seed(seed))


@given(
    st.integers(1, 5),
    st.sampled_from([1, 3]),
    st.integers(4, 20),
    st.builds(
        Augment,
        crop_padding=st.none() | st.integers(0, 4),
        min_area=st.sampled_from([0.2, 0.7, 1.0]),
        flip=st.booleans(),
    ),
    st.integers(0, 99),
)
def test_shape_and_dtype_stay_and_the_draws_decide(
    batch: int, channels: int, size: int, augment: Augment, seed: int
) -> None:
    images = picture(batch, channels, size)
    first = crop_and_flip(images, draws(batch, seed), augment, flip=True)
    assert first.shape == images.shape
    assert first.dtype == torch.uint8
    assert torch.equal(first, crop_and_flip(images, draws(batch, seed), augment, flip=True))


def test_a_padded_crop_is_a_window_of_the_padded_image() -> None:
    images = picture()
    cropped = crop_and_flip(images, draws(64), Augment(crop_padding=2, flip=False), flip=True)
    padded = F.pad(images, (2,) * 4)
    offsets = set()
    for image, result in zip(padded, cropped, strict=True):
        found = [(y, x) for y in range(5) for x in range(5) if torch.equal(image[:, y : y + 16, x : x + 16], result)]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 15  # of 25


def test_about_half_are_mirrored_and_none_where_the_dataset_forbids_it() -> None:
    images, only_flip = picture(400), Augment(crop_padding=0)
    flipped = crop_and_flip(images, draws(400), only_flip, flip=True)
    mirrored = (flipped == images.flip(-1)).flatten(1).all(1)
    assert ((flipped == images).flatten(1).all(1) | mirrored).all()
    assert 150 < mirrored.sum() < 250
    assert torch.equal(crop_and_flip(images, draws(400), only_flip, flip=False), images)


def test_digits_are_never_mirrored() -> None:
    train = load("digits").train
    plain = torch.cat([x for x, _ in train.batches(256, seed=1)])
    augmented = torch.cat([x for x, _ in train.batches(256, seed=1, augment=Augment(crop_padding=0))])
    assert torch.equal(plain, augmented)


def test_a_resized_crop_of_the_whole_area_range_zooms_in() -> None:
    ramp = torch.arange(16, dtype=torch.uint8).expand(64, 1, 16, 16) * 16
    zoomed = crop_and_flip(ramp.contiguous(), draws(64), Augment(min_area=0.25, flip=False), flip=True).int()
    spread = zoomed[:, 0, 0, -1] - zoomed[:, 0, 0, 0]
    assert (spread >= 0).all()  # left stays left
    assert (spread <= 240).all()
    assert spread.float().mean() < 210  # and only a part of the ramp is seen


def test_erasing_blanks_one_rectangle_within_the_bounds() -> None:
    images = torch.ones(500, 3, 16, 16)
    erased = erase(images, draws(500), 0.4)
    blank = erased[:, 0] == 0
    assert torch.equal(blank, erased[:, 2] == 0)
    hit = blank.flatten(1).any(1)
    assert 150 < hit.sum() < 250
    for mask in blank[hit]:
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        height, width = (int(side.max() - side.min() + 1) for side in (rows, columns))
        assert mask.sum() == height * width  # a full rectangle
        assert height * width <= ERASED_AREA[1] * 256 * 1.25  # rounding of its sides
    assert torch.equal(erase(images, draws(500), 0.0), images)


def test_switching_erasing_on_moves_no_crop() -> None:
    train = load("digits").train
    plain = torch.cat([x for x, _ in train.batches(256, seed=1, augment=Augment())])
    erased = torch.cat([x for x, _ in train.batches(256, seed=1, augment=Augment(erase=0.5))])
    untouched = erased != 0
    assert untouched.float().mean() > 0.7
    assert torch.equal(plain[untouched], erased[untouched])


@pytest.mark.parametrize("wrong", [{"erase": 1.5}, {"crop_padding": -1}, {"min_area": 0}, {"flipp": True}])
def test_options_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(ValidationError):
        Augment(**wrong)


def test_padding_follows_the_size_unless_it_is_given() -> None:
    assert [Augment().padding(size) for size in (8, 16, 32, 224)] == [0, 2, 4, 28]
    assert Augment(crop_padding=3).padding(32) == 3
