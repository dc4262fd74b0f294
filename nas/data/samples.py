"""Samples of images and of files, for the digest that a run is held to: they tell another set, quickly at any size."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from nas.errors import DataError
from nas.files import regular

IMAGES = 256  # of a split, whose content is looked at
BYTES = 4096  # of a file, at each place


def some_of(indices: np.ndarray) -> np.ndarray:
    """At most IMAGES of the indices, evenly spaced.

    >>> some_of(np.arange(10_000))[:3]
    array([ 0, 39, 78])
    """
    return indices[np.linspace(0, len(indices) - 1, min(IMAGES, len(indices))).astype(np.int64)]


def sample_of(file: Path, places: int) -> str:
    """16 hex digits over BYTES at each of so many places, evenly spaced. Raises DataError."""
    digest = hashlib.sha256()
    try:
        with regular(file).open("rb", buffering=0) as opened:
            last = max(0, os.fstat(opened.fileno()).st_size - BYTES)
            for place in range(places):
                digest.update(os.pread(opened.fileno(), BYTES, last * (2 * place + 1) // (2 * places)))
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=file) from None
    return digest.hexdigest()[:16]


def size_of(file: Path) -> int:
    """Bytes of a file. Raises DataError."""
    return _state(file).st_size


def changed_at(file: Path) -> int:
    """When a file was last changed or put in place, in nanoseconds. Raises DataError."""
    return _state(file).st_ctime_ns


def _state(file: Path) -> os.stat_result:
    try:
        return file.stat()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", file=file) from None
