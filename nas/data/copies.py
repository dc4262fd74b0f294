"""Images of validation or test that are training images as well, byte for byte: accuracy on them is memory.

    of a split held out    at most LOOKED_AT images, evenly spaced
    of the training split  those that have as many bytes as one of these; only they are read

Decoded arrays (digits, torchvision's sets) are what their authors published, and are not looked at.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from nas.data.encoded import EncodedImages
from nas.data.split import Subset
from nas.errors import DataError
from nas.heartbeat import beat

LOOKED_AT = 1000


def copies(train: Subset, held: Mapping[str, Subset]) -> list[str]:
    """A sentence for each split held out, by its name, that has copies of training images."""
    return [found for name, subset in held.items() if (found := _copies(name, subset, train))]


def _copies(name: str, held: Subset, train: Subset) -> str | None:
    if not (isinstance(held.pictures, EncodedImages) and isinstance(train.pictures, EncodedImages)):
        return None
    count = len(held.indices)
    chosen = held.indices[np.linspace(0, count - 1, min(LOOKED_AT, count)).astype(np.int64)]
    sizes, train_sizes = held.pictures.sizes(chosen), train.pictures.sizes(train.indices)
    alike = train.indices[np.isin(train_sizes, sizes)]
    known = {_digest(train.pictures, index): index for index in alike.tolist()}
    known.pop(None, None)
    pairs = [(index, known[digest]) for index in chosen.tolist() if (digest := _digest(held.pictures, index)) in known]
    if not pairs:
        return None
    looked = f"of {len(chosen):,} {name} images" + ("" if len(chosen) == count else " looked at")
    first, second = held.pictures.where(pairs[0][0]), train.pictures.where(pairs[0][1])
    return f"{len(pairs):,} {looked} are training images as well, byte for byte, such as {first} and {second}"


def _digest(pictures: EncodedImages, index: int) -> bytes | None:
    """SHA-256 of the encoded image; None where it cannot be read, which is for its decoder to say."""
    beat()
    try:
        return hashlib.sha256(pictures.read(index)).digest()
    except DataError:
        return None
