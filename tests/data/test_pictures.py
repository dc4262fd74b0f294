"""Images that cannot or must not be decoded are one message each, which names the file."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms.v2 import functional

from nas.data import encoded, load, pictures
from nas.data.encoded import MAX_PIXELS, decode
from nas.data.pictures import Form
from nas.errors import DataError

NOISE = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
FORMATS = ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"]


def saved(format: str, *frames: Image.Image, **options: object) -> bytes:
    stream = io.BytesIO()
    first, *others = frames or (Image.fromarray(NOISE),)
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(stream, format, **more, **options)
    return stream.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG whose header promises so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("format", FORMATS)
def test_more_pixels_than_the_limit_are_not_decoded(format: str) -> None:
    assert decode(saved(format), 3, max_pixels=480).shape == (3, 24, 20)
    message = r"an image of 480 pixels; at most 479 are decoded; make it smaller, or .*max_pixels: 480 .*--max-pixels"
    with pytest.raises(DataError, match=message):
        decode(saved(format), 3, max_pixels=479)


@pytest.mark.parametrize("size", [(9459, 9460), (13_000, 13_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_pils_own_warnings_and_errors_become_that_message(size: tuple[int, int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=f"an image of {size[0] * size[1]:,} pixels; at most {MAX_PIXELS:,}"):
            decode(png_of(*size), 3)


def test_the_limit_is_a_setting_and_pils_is_left_alone(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    write_folder(tmp_path, {"a": 8, "b": 8})
    (tmp_path / "b/004.png").write_bytes(saved("PNG", Image.new("RGB", (40, 40))))
    before = Image.MAX_IMAGE_PIXELS
    for resident_bytes in (2**30, 0):
        with pytest.raises(DataError, match=rf"{tmp_path}/b/004\.png: an image of 1,600 pixels; at most 1,000 are"):
            load(f"imagefolder:{tmp_path}", size=8, max_pixels=1000, resident_bytes=resident_bytes)
    assert load(f"imagefolder:{tmp_path}", size=8, max_pixels=1600).size == 8
    assert before == Image.MAX_IMAGE_PIXELS
    with pytest.raises(DataError, match="max_pixels is 0; expected 1 at least"):
        load("digits", max_pixels=0)


def test_an_image_of_more_pixels_than_pil_allows_is_decoded_if_so_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(saved("PNG"), 3).shape == (3, 24, 20)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_are_refused(format: str) -> None:
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE), Image.fromarray(NOISE[::-1].copy())]
    with pytest.raises(DataError, match=rf"3 frames \({format}\); expected a still image"):
        decode(saved(format, *frames), 3)


def test_a_photograph_may_carry_a_preview() -> None:
    photograph = saved("MPO", Image.fromarray(NOISE), Image.fromarray(NOISE[:8, :8]))
    assert decode(photograph, 3).shape == (3, 24, 20)


@pytest.mark.parametrize(
    "blob",
    [
        png_of(0, 5),
        png_of(5, 0),
        b"P6 0 5 255 ",
        b"GIF89a" + bytes(7) + b",\0\0\0\0\0\0\0\0\0\2\2D\1\0;",
        b"",
        b"\0" * 100,
    ],
)
def test_an_image_without_pixels_is_one_message(blob: bytes) -> None:
    with pytest.raises(DataError, match=r"without pixels|damaged|not an image") as caught:
        decode(blob, 3)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(FORMATS), st.data())
def test_damage_is_an_image_or_one_message(format: str, data: st.DataObject) -> None:
    """PIL passes over some damage, as it must; it never ends in a traceback."""
    blob = bytearray(saved(format))
    for _ in range(data.draw(st.integers(1, 4))):
        blob[data.draw(st.integers(0, min(len(blob), 300) - 1))] = data.draw(st.integers(0, 255))
    del blob[data.draw(st.integers(1, len(blob))) :]
    with suppress(DataError):
        assert decode(bytes(blob), 3, max_pixels=10_000).numel() <= 30_000


@pytest.mark.parametrize("format", ["PNG", "JPEG", "GIF", "BMP", "TIFF"])
def test_a_truncated_image_is_damaged(format: str) -> None:
    blob = saved(format)
    with pytest.raises(DataError, match=r"a damaged image|not an image"):
        decode(blob[: len(blob) * 2 // 3], 3)


def test_the_header_alone_is_read_while_the_set_is_surveyed(
    tmp_path: Path, write_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_folder(tmp_path, {"a": 8, "b": 8})
    (tmp_path / "a/000.png").write_bytes(png_of(20_000, 20_000))
    monkeypatch.setattr(encoded, "decode", None)
    with pytest.raises(DataError, match=rf"{tmp_path}/a/000\.png: an image of 400,000,000 pixels"):
        load(f"imagefolder:{tmp_path}", size=8)


@pytest.mark.parametrize("shape", [(2, 12_000), (12_000, 2), (3, 4001), (1, 90_000)])
def test_a_strip_is_cut_before_it_is_resized(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is that of resizing it all, at a size where that is affordable, to half a pixel of the original."""
    height, width = shape
    ramp = torch.arange(max(shape)) * 255 // max(shape)
    strip_CHW = (ramp if width > height else ramp[:, None]).expand(3, height, width).to(torch.uint8)
    whole, form = strip_CHW, Form(8, 3, crop=0.9)
    with monkeypatch.context() as patched:
        patched.setattr(pictures, "STRIP", 10**6)
        expected = form.fit(whole)
    assert (form.fit(whole).int() - expected.int()).abs().max() <= 1
    made: list[int] = []
    resize = functional.resize
    monkeypatch.setattr(functional, "resize", lambda *given: (made.append((out := resize(*given)).numel()), out)[1])
    assert Form(224, 3).fit(strip_CHW).shape == (3, 224, 224)
    assert max(made) <= 5 * 3 * 224 * 224


def test_an_ordinary_image_is_not_cut() -> None:
    image_CHW = torch.randint(0, 256, (3, 20, 160), dtype=torch.uint8)
    assert pictures._middle(image_CHW) is image_CHW


@pytest.mark.parametrize("place", ["train/a/036.png", "test/b/003.png"])
def test_one_colour_image_among_grey_ones_is_seen(
    tmp_path: Path, write_folder: Callable[..., Path], place: str
) -> None:
    write_folder(tmp_path, {"train/a": 150, "train/b": 150, "test/a": 5, "test/b": 5}, channels=1)
    assert load(f"imagefolder:{tmp_path}").channels == 1
    (tmp_path / place).write_bytes(saved("PNG", Image.new("RGB", (8, 8), "red")))
    images = load(f"imagefolder:{tmp_path}")
    assert images.channels == 3
    split = images.train if place.startswith("train") else images.test
    total = 300 if place.startswith("train") else 10
    note = split.subset.pictures.note
    assert note == f"1 of {total} images looked at have colour, the others are grey: all are read as RGB"
