"""A set of photographs as they come: JPEG and PNG, grey, transparent, turned; and a model that is trained on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

import nas

CLASSES = {"left": (slice(None), slice(0, 10)), "top": (slice(0, 8), slice(None))}  # where a photograph is dark
SETTINGS = {"image": {"size": 8, "channels": 3}, "classes": 2, "training.epochs": 4, "training.batch_size": 16}


def photograph(file: Path, name: str, kind: int, random: np.random.Generator) -> None:
    """A photograph of class `name`, of one of six kinds. It is recognised if it is turned and laid on white."""
    pixels = random.integers(170, 256, (16, 20, 3), dtype=np.uint8)
    pixels[CLASSES[name]] //= 3
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if kind == 1:
        image = image.convert("L")
    elif kind == 2:  # the light part is transparent, and black underneath
        alpha = np.zeros((16, 20), np.uint8)
        alpha[CLASSES[name]] = 255
        image = Image.fromarray(np.dstack([pixels * (alpha[..., None] > 0), alpha]))
    elif kind == 3:
        exif[ExifTags.Base.Orientation] = 6
        image = image.transpose(Image.Transpose.ROTATE_90)
    elif kind == 4:
        image = image.quantize(16)
    jpeg = kind in (0, 3)
    image.save(file.with_suffix(".jpg" if jpeg else ".png"), exif=exif)


def write_photographs(folder: Path, count: int, *, kinds: tuple[int, ...] = (0, 1, 2, 3, 4, 5)) -> Path:
    random = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for index in range(count):
            photograph(folder / name / f"{index:03d}", name, kinds[index % len(kinds)], random)
    return folder


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), 40)


@pytest.fixture(scope="session")
def trained(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The genome file of a model that is trained on the photographs, beside its weights."""
    out = tmp_path_factory.mktemp("trained")
    data = f"imagefolder:{photographs}"
    return nas.train_genome("lavit_digits", data, out=out, settings=SETTINGS, device="cpu", progress=False).file
