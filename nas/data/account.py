"""What was loaded, as plain data: for `run.yaml`, `nas data --json`, and, by nas/account.py, for people.

source       as the user wrote it, with the full path
images       train, validation, test: how many
origins      train, validation, test: how the split came about
classes      name: [train, validation, test], how many of each; {} without labels
images_sha256  of labels and images (`ImageSet.digest`): a run that goes on is held to it
size, channels, mean, std, interpolation, crop, measured (mean and std are those of the training images), flip
streamed     splits that are decoded while they train, since they do not fit into memory
notes        what was left out, or read in a way that a user may not expect; copies of training images
"""

from __future__ import annotations

from typing import Any

import torch

from nas.data.images import ImageSet
from nas.data.split import Resident

SPLITS = ("train", "validation", "test")


def account_of(images: ImageSet) -> dict[str, Any]:
    """The account of a dataset: values that JSON and YAML can hold.

    >>> account_of(load("digits"))["images"]
    {'train': 1150, 'validation': 288, 'test': 359}
    """
    splits = {name: getattr(images, name) for name in SPLITS}
    known = [split.labels_N[split.labels_N >= 0] for split in splits.values()]
    counts = [torch.bincount(labels_N, minlength=len(images.classes)).tolist() for labels_N in known]
    classes = {name: [count[at] for count in counts] for at, name in enumerate(images.classes)}
    return {
        "source": images.name,
        "images": {name: len(split) for name, split in splits.items()},
        "origins": dict(images.origins),
        "classes": classes if any(map(len, known)) else {},
        "images_sha256": images.digest,
        "size": images.size,
        "channels": images.channels,
        **images.preprocess.model_dump(mode="json"),
        "measured": images.measured,
        "flip": images.flip,
        "streamed": [name for name, split in splits.items() if not isinstance(split, Resident)],
        "notes": [*images.notes, *images.copies],
    }
