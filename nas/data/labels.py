"""Labels for images that have none: what a trained model answers for each of them.

A source without classes (`images:PATH`) is split like any other, as if all of its images were of one class. A model
then says the class of each image of each split, once. From there on its answers are data, which go wherever the images
go. They name the images that they were given for, and are refused for others.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from nas.data.images import ImageSet
from nas.data.pictures import UNKNOWN, Relabelled
from nas.data.split import Split
from nas.errors import DataError

SPLITS = ("train", "validation", "test")
Label = Annotated[int, Field(strict=True, ge=0)]


class Labels(BaseModel):
    """Indices into `classes`, for the images of each split in file order. images: their digest, before they had labels.

    parent: digest of the model that gave them; files of earlier versions have none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    classes: tuple[str, ...] = Field(min_length=1)
    images: str
    parent: str | None = None
    train: tuple[Label, ...]
    validation: tuple[Label, ...]
    test: tuple[Label, ...]


def labelled(images: ImageSet, labels: Labels) -> ImageSet:
    """The same images with these labels. Raises DataError if the labels were given for others, or not for each.

    >>> labelled(load("images:photos", size=224), labels).validation.labels_N[:3]
    tensor([3, 0, 7])
    """
    if images.digest != labels.images:
        message = "its images are not those that the model has labelled; restore what was added, removed or changed"
        raise DataError(f"{images.name}: {message}, or choose another RUN")
    for name in SPLITS:
        own, count = getattr(labels, name), len(getattr(images, name))
        if len(own) != count or max(own, default=0) >= len(labels.classes):
            wrong = f"{len(own)} labels of {count} images, class {max(own, default=0)} of {len(labels.classes)}"
            remedy = "restore the run's labels.json, or delete it, and the model labels the images again"
            raise DataError(f"{images.name}: {name} cannot have {wrong}; {remedy}")
    return replace(
        images,
        classes=labels.classes,
        train=_labelled(images.train, labels.train),
        validation=_labelled(images.validation, labels.validation),
        test=_labelled(images.test, labels.test),
    )


def _labelled(split: Split, labels: tuple[int, ...]) -> Split:
    subset = split.subset
    labels_N = np.full(len(subset.pictures), UNKNOWN, dtype=np.int64)
    labels_N[subset.indices] = labels
    return type(split)(replace(subset, pictures=Relabelled(subset.pictures, labels_N)), split.preprocess)
