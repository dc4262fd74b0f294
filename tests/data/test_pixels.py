"""From an image file to pixels: upright, opaque, 8 bits."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageOps

from nas.data import load
from nas.data.encoded import MAX_PIXELS, _opened, decode
from nas.data.pixels import is_grey, pixels_of, upright_size
from nas.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def saved(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def turned(orientation: object) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_images_stand_upright(format: str, orientation: int) -> None:
    blob = saved(Image.fromarray(NOISE), format, exif=turned(orientation))
    expected = np.array(ImageOps.exif_transpose(Image.open(io.BytesIO(blob))).convert("RGB"))
    found_CHW = decode(blob, 3)
    assert np.array_equal(found_CHW.permute(1, 2, 0), expected)
    with _opened(blob, MAX_PIXELS) as image:
        assert upright_size(image) == found_CHW.shape[1:]


@pytest.mark.parametrize("exif", [turned(9), turned(0), b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"])
def test_an_orientation_that_means_nothing_changes_nothing(exif: object) -> None:
    blob = saved(Image.fromarray(NOISE), "PNG", exif=exif)
    assert np.array_equal(decode(blob, 3).permute(1, 2, 0), NOISE)


def test_a_set_of_turned_photographs_has_one_size(tmp_path: Path) -> None:
    """Portraits and landscapes are told apart by how they are shown, not by how the camera stored them."""
    for name in "ab":
        (tmp_path / name).mkdir()
        for index in range(8):
            upright = index % 2 == 0
            image = Image.fromarray(NOISE if upright else NOISE.transpose(1, 0, 2).copy())
            image.save(tmp_path / name / f"{index}.png", exif=turned(1 if upright else 6))
    with pytest.raises(DataError, match=r"images are 30×20 \(width×height\)"):
        load(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_white(channels: int) -> None:
    alpha = np.zeros((20, 30), np.uint8)
    alpha[:, 15:] = 255
    opaque = decode(saved(Image.fromarray(NOISE)), channels)
    found = decode(saved(Image.fromarray(np.dstack([NOISE, alpha]))), channels)
    assert (found[..., :15] == 255).all()
    assert torch.equal(found[..., 15:], opaque[..., 15:])


def test_half_transparent_is_half_white() -> None:
    image = Image.new("RGBA", (1, 1), (200, 100, 0, 51))
    assert decode(saved(image), 3).flatten().tolist() == [244, 224, 204]  # 0.2 × colour + 0.8 × 255
    assert decode(saved(Image.new("LA", (1, 1), (100, 51))), 1).item() == 224


@pytest.mark.parametrize(
    ("image", "transparency"),
    [
        (Image.new("RGB", (2, 2), (1, 2, 3)).quantize(2), 0),
        (Image.new("L", (2, 2), 7), 7),
        (Image.new("RGB", (2, 2), (1, 2, 3)), (1, 2, 3)),
    ],
    ids=["palette", "grey", "colour"],
)
def test_a_transparent_colour_is_white(image: Image.Image, transparency: object) -> None:
    assert (decode(saved(image, transparency=transparency), 3) == 255).all()
    assert (decode(saved(image), 3) < 255).any()


@pytest.mark.parametrize("format", ["PNG", "PPM", "TIFF"])
def test_the_upper_eight_of_sixteen_bits(format: str) -> None:
    levels = (np.arange(600, dtype=np.uint16) * 109).reshape(20, 30)
    blob = saved(Image.fromarray(levels), format)
    assert np.array_equal(decode(blob, 1)[0], levels >> 8)
    assert np.array_equal(decode(blob, 3), np.stack([levels >> 8] * 3))
    with _opened(blob, MAX_PIXELS) as image:
        assert is_grey(image)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_are_refused(dtype: type) -> None:
    with pytest.raises(DataError, match="an image with 32 bits per channel; convert it to 8 or 16 bits"):
        decode(saved(Image.fromarray(np.ones((4, 4), dtype)), "TIFF"), 3)


def test_an_image_in_memory_is_its_file() -> None:
    blob = saved(Image.fromarray(NOISE), "JPEG", exif=turned(6))
    assert torch.equal(pixels_of(Image.open(io.BytesIO(blob)), 3), decode(blob, 3))
