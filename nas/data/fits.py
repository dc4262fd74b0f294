"""Checks that a dataset has what a model takes, before anything is trained."""

from __future__ import annotations

from nas.data.images import ImageSet
from nas.data.split import Resident
from nas.errors import DataError


def check_fits(images: ImageSet, *, size: int, channels: int, classes: int, file: object = None) -> None:
    """Raise a DataError unless `images` has what the model takes; the message names the genome's key and the fix.

    Images without labels fit any number of classes.

    >>> from nas.data import load
    >>> check_fits(load("digits"), size=8, channels=1, classes=10)
    """
    found = len(images.classes)
    wanted: list[tuple[str, int, int, str, str]] = [
        ("image.size", size, images.size, f"{size}×{size} images", f"{images.size}×{images.size}"),
        ("image.channels", channels, images.channels, f"{_channels(channels)}", f"{_channels(images.channels)}"),
    ]
    if found:
        wanted.append(("classes", classes, found, f"{classes} classes", f"{found}"))
    for path, model, data, takes, has in wanted:
        if model != data:
            message = f"the model takes {takes}, the dataset {images.name} has {has}; set {path} to {data}"
            raise DataError(message, file=file, path=path)


def check_labelled(images: ImageSet) -> None:
    """Raise a DataError for images without labels, which cannot teach a model its classes.

    >>> check_labelled(load("digits"))
    """
    if not images.classes:
        message = "its images have no labels, from which this would learn; only `nas convert` can do without them"
        raise DataError(f"{images.name}: {message}: take a source with labels, such as imagefolder:PATH", path="data")


def check_readable(images: ImageSet) -> None:
    """Decode the test split, which is read at the very end, unless it is decoded while it is read.

    Training images and those of validation are decoded when they are loaded. Raises DataError for a damaged one.

    >>> check_readable(load("digits"))
    """
    if isinstance(images.test, Resident):
        subset = images.test.subset
        subset.pictures.resident(subset.indices, subset.form)


def _channels(count: int) -> str:
    return "1 channel (grey)" if count == 1 else f"{count} channels"
