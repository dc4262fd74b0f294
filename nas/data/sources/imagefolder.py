"""`imagefolder:PATH`: one folder per class, as torchvision's ImageFolder has it.

    PATH/train/<class>/*.jpg     and, if there are any, PATH/val/<class>/... and PATH/test/<class>/...
    PATH/<class>/*.jpg           class folders alone: the test split is carved

Classes are the folder names in alphabetical order; images may lie deeper. Hidden files and folders are passed over.
A split folder may also be called valid, validation, or testing, training.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nas.data.encoded import ImageFiles
from nas.data.registry import Raw, source
from nas.errors import DataError, nearest

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
SPLITS = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing")}


@source("imagefolder:PATH")
def read(path: Path) -> Raw:
    folders = {split: next((path / n for n in names if (path / n).is_dir()), None) for split, names in SPLITS.items()}
    name = f"imagefolder:{path}"
    train = folders["train"]
    if train is None:
        if found := [folder.name for folder in folders.values() if folder is not None]:
            raise DataError(
                f"{path}: has {found[0]}/ but no train/ beside it; expected train/<class>/ or <class>/ folders"
            )
        classes = _classes(path)
        return Raw(name, classes, _images(path, classes))
    classes = _classes(train)
    validation, test = (_images(f, classes) if f else None for f in (folders["validation"], folders["test"]))
    return Raw(name, classes, _images(train, classes), validation, test)


def _classes(folder: Path) -> tuple[str, ...]:
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not names and (loose := image_files(folder)):
        found = f"no class folders, but {len(loose)} images without labels"
        raise DataError(f"{folder}: {found}; expected <class>/<image>; for `nas convert`, write images:{folder}")
    if not names:
        raise DataError(f"{folder}: no class folders; expected <class>/<image> with images such as .jpg or .png")
    return tuple(names)


def _images(folder: Path, classes: tuple[str, ...]) -> ImageFiles:
    paths: list[Path] = []
    labels: list[int] = []
    for name in _classes(folder):
        if name not in classes:
            raise DataError(
                f"{folder / name}: a class that the training folder does not have; {nearest(name, classes)}"
            )
        found = image_files(folder / name)
        if not found:
            raise DataError(f"{folder / name}: no images in this class folder; looked for {', '.join(EXTENSIONS)}")
        paths += found
        labels += [classes.index(name)] * len(found)
    return ImageFiles(paths, np.asarray(labels, dtype=np.int64))


def image_files(folder: Path) -> list[Path]:
    """The images in a folder and below it, by their ending, in alphabetical order."""
    found = []
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, f) for f in files if f.lower().endswith(EXTENSIONS) and not f.startswith(".")]
    return sorted(found)
