"""A sheet of training images as a PNG: a row for each of some images, first as evaluation sees it, then augmented.

Legend: C channels, S side of the image.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from nas.data import Augment, ImageSet
from nas.errors import SpecError
from nas.files import check_target, write_atomically

ROWS, DRAWS = 8, 7
LEAST = 64  # pixels of a side on the sheet; smaller images are enlarged by a whole number
GAP, TITLE = 4, 14  # pixels between images, and for the class above a row


def check_sheet(file: Path) -> None:
    """Raise SpecError if no PNG can be written there: before images are loaded, which may take long."""
    if file.suffix.lower() != ".png":
        raise SpecError(f"a sheet is a PNG: expected FILE.png, found {file.name}", path="--sheet")
    check_target(file, "--sheet")


def write_sheet(images: ImageSet, file: Path, augment: Augment, *, seed: int = 0) -> Path:
    """Draw ROWS images of the training split, evenly spaced, with DRAWS augmentations each. Returns the file.

    >>> write_sheet(load("digits"), Path("sheet.png"), Augment())
    """
    places = np.linspace(0, len(images.train) - 1, min(ROWS, len(images.train))).astype(np.int64)
    side = images.size * max(1, -(-LEAST // images.size))
    sheet = Image.new("RGB", (GAP + (1 + DRAWS) * (side + GAP), GAP + len(places) * (TITLE + side + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for row, place in enumerate(places):
        top = GAP + row * (TITLE + side + GAP)
        label = int(images.train.labels_N[place])
        name = images.classes[label] if 0 <= label < len(images.classes) else "no label"
        pen.text((GAP, top), name.encode("latin-1", "replace").decode("latin-1")[:80], fill="black")
        one = images.train.only(np.array([place]))
        plain_1CSS, _ = next(one.batches(1))
        drawn = [next(one.batches(1, seed=seed + DRAWS * row + draw, augment=augment))[0] for draw in range(DRAWS)]
        for column, picture_1CSS in enumerate([plain_1CSS, *drawn]):
            picture = _picture(picture_1CSS[0], images).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(picture, (GAP + column * (side + GAP), top + TITLE))
    write_atomically(file, lambda path: sheet.save(path, "PNG"))
    return file


def _picture(image_CSS: Tensor, images: ImageSet) -> Image.Image:
    """The pixels behind a normalised image."""
    mean_C11, std_C11 = (torch.tensor(v)[:, None, None] for v in (images.preprocess.mean, images.preprocess.std))
    pixels_CSS = ((image_CSS * std_C11 + mean_C11) * 255).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels_CSS.permute(1, 2, 0).squeeze(-1).numpy())
