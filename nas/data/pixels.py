"""From an opened image to uint8 pixels: what training, evaluation and prediction all see.

- Upright. The orientation that a camera noted (EXIF) is applied. An EXIF block that cannot be read says nothing.
- Opaque. What is transparent is laid on white, as a page shows it.
- 8 bits. Of 16 bits the upper 8 are kept, as PIL itself does with colour. 32 bits have no range of their own and are
  refused.

PIL decodes: torchvision's own decoder is faster on small images, but will be removed from torchvision.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from nas.errors import DataError

Choose = Callable[[int, int], tuple[int, int, int, int]]  # height, width -> top, left, height, width
SIXTEEN_BITS = ("PNG", "PPM")  # formats whose integers have 16 bits, which PIL may hold as 32
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # of EXIF's orientations, to bring the image upright


def pixels_of(image: Image.Image, channels: int, choose: Choose | None = None) -> Tensor:
    """uint8 (C, H, W), C being 1 (grey) or 3 (RGB). Raises DataError for 32 bits a channel.

    choose: of these pixels, the rectangle that it names for their size, alone.

    >>> pixels_of(Image.new("RGBA", (2, 1)), 3).tolist()
    [[[255, 255]], [[255, 255]], [[255, 255]]]
    """
    image.load()
    turn = TURNS.get(_orientation(image))
    image = _opaque(_in_8_bits(image))
    image = image if turn is None else image.transpose(turn)
    if choose is not None:  # here, so that no more is copied out of PIL than is used
        top, left, height, width = choose(image.height, image.width)
        image = image.crop((left, top, left + width, top + height))
    wanted = "L" if channels == 1 else "RGB"
    pixels = np.array(image if image.mode == wanted else image.convert(wanted))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


def is_grey(image: Image.Image) -> bool:
    """Whether an image has no colour, by its header."""
    return image.mode in ("1", "L", "LA", "I") or image.mode.startswith("I;")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of the pixels. Only an image that is not square has to say how it is turned."""
    width, height = image.size
    turned = width != height and _orientation(image) >= 5
    return (width, height) if turned else (height, width)


def _orientation(image: Image.Image) -> int:
    """1 to 8, as EXIF counts them. PIL turns a TIFF by itself."""
    if image.format == "TIFF":
        return 1
    try:
        found = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # PIL's parser meets damage with errors of many classes
        return 1
    return found if isinstance(found, int) else 1


def _in_8_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in SIXTEEN_BITS):
        return Image.fromarray((np.array(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DataError("an image with 32 bits per channel; convert it to 8 or 16 bits")
    return image


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
