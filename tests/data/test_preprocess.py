"""How pixels reach a model: the values of a `Preprocess`, on every path alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from timm.data import create_transform

from nas.data import Augment, Preprocess, load
from nas.data.pictures import Form
from nas.errors import DataError

IMAGENET = Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bicubic", crop=0.875)


def test_a_given_preprocess_serves_all_three_splits(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    write_folder(tmp_path, {"a": 20, "b": 20}, size=17)
    source = f"imagefolder:{tmp_path}"
    resident = load(source, size=8, preprocess=IMAGENET)
    streaming = load(source, size=8, preprocess=IMAGENET, resident_bytes=0)
    assert resident.preprocess == streaming.preprocess == IMAGENET
    assert not resident.measured and load(source, size=8).measured
    for name in ("train", "validation", "test"):
        split = getattr(resident, name)
        images_NCSS = next(split.batches(100))[0]
        assert torch.equal(images_NCSS, next(getattr(streaming, name).batches(100))[0])
        index = int(split.subset.indices[0])
        form = Form(8, 3, IMAGENET.interpolation, IMAGENET.crop)
        pixels_CSS = form.fit(split.subset.pictures.original(index, 3))
        assert torch.equal(images_NCSS[0], IMAGENET.normaliser(torch.device("cpu"))(pixels_CSS))


def test_each_form_is_decoded_for_itself(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    """Images that were kept on disk in one form are not taken for those of another."""
    write_folder(tmp_path, {"a": 20, "b": 20}, size=17)
    forms = [
        IMAGENET.model_copy(update={"interpolation": interpolation, "crop": crop})
        for interpolation in ("bilinear", "bicubic")
        for crop in (1.0, 0.875)
    ]
    for _ in range(2):  # made, then read
        seen = [next(load(f"imagefolder:{tmp_path}", size=8, preprocess=form).test.batches(100))[0] for form in forms]
        assert not any(torch.equal(one, other) for i, one in enumerate(seen) for other in seen[:i])


@pytest.mark.parametrize("crop", [1.0, 0.95, 0.9, 0.875])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_it_is_timms(interpolation: str, crop: float) -> None:
    """The same side and the same window; grey levels to within PIL's rounding."""
    ramp_HW = torch.arange(48)[:, None] * 2 + torch.arange(64) * 2
    image = Image.fromarray(ramp_HW.byte().numpy()).convert("RGB")
    theirs = create_transform((3, 24, 24), interpolation=interpolation, crop_pct=crop, mean=(0.0,) * 3, std=(1.0,) * 3)(
        image
    )
    pixels_CHW = ramp_HW.byte().expand(3, -1, -1)
    ours = Form(24, 3, interpolation, crop).fit(pixels_CHW).float()
    assert (ours - 255 * theirs).abs().max() <= 1.01


def test_augmentation_resizes_as_evaluation_does(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    write_folder(tmp_path, {"a": 20, "b": 20}, size=17)
    augment = Augment(crop_padding=0, flip=False)
    for resident_bytes in (2**30, 0):
        train = load(f"imagefolder:{tmp_path}", size=8, preprocess=IMAGENET, resident_bytes=resident_bytes).train
        augmented, plain = (next(train.batches(100, seed=1, augment=each))[0] for each in (augment, None))
        assert torch.equal(augmented, plain)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": (0.5,), "std": (0.0,)}, "values above 0, found 0.0"),
        ({"mean": (0.5, 0.5), "std": (0.2,)}, "as many values of std as of mean, found 1 and 2"),
        ({"mean": (float("nan"),), "std": (0.2,)}, "finite"),
        ({"mean": (), "std": ()}, "at least 1"),
        ({"mean": (0.5,), "std": (0.2,), "crop": 1.2}, "less than or equal to 1"),
        ({"mean": (0.5,), "std": (0.2,), "interpolation": "nearest"}, "'bilinear' or 'bicubic'"),
    ],
)
def test_mistakes(values: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Preprocess(**values)


def test_channels_that_the_images_do_not_have() -> None:
    with pytest.raises(DataError, match="digits: images have 1 channels, `preprocess` has mean and std of 3"):
        load("digits", preprocess=IMAGENET)
