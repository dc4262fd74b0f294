"""Encoded images on disk, one after the other: how a set that is too large for memory is read image by image.

    file = images | ends (N int64: where each image ends) | SHA-256 of each image (N) | seal
    seal = SHA-256 of (format, file name, N, ends, digests)

The seal is checked when the file is opened, an image each time it is read: it costs a hundredth of decoding it, and
workers that start anew in each epoch have nothing to remember. On any doubt the images are unpacked again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nas.cache import locked
from nas.files import write_atomically

log = logging.getLogger(__name__)

DIGEST_BYTES = 32
FORMAT = "nas encoded images, version 1"


@dataclass(frozen=True, eq=False)
class UnpackedImages:
    """The images of one file. `ends_N` is int64, `digests` has 32 bytes for each."""

    path: Path
    ends_N: np.ndarray
    digests: bytes

    @classmethod
    def open(cls, path: Path, count: int) -> UnpackedImages | None:
        """`count` images, or None where there is no such file or its size or seal is wrong."""
        table = count * (8 + DIGEST_BYTES)
        try:
            size = path.stat().st_size if path.is_file() else 0
            if size < table + DIGEST_BYTES:
                return None
            with path.open("rb") as file:
                file.seek(size - table - DIGEST_BYTES)
                tail = file.read()
        except OSError:
            return None
        ends, digests = tail[: 8 * count], tail[8 * count : table]
        if tail[table:] != _seal(path, count, ends, digests):
            return None
        found = cls(path, np.frombuffer(ends, np.int64), digests)
        return found if size == int(found.ends_N[-1]) + table + DIGEST_BYTES else None

    def read(self, index: int) -> bytes | None:
        """Encoded image `index`, empty where the source has none; None if it is damaged."""
        start = int(self.ends_N[index - 1]) if index else 0
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                blob = file.read(int(self.ends_N[index]) - start)
        except OSError:
            return None
        wanted = self.digests[DIGEST_BYTES * index : DIGEST_BYTES * (index + 1)]
        return blob if hashlib.sha256(blob).digest() == wanted else None


def unpack(path: Path, count: int, index: int, blobs: Callable[[], Iterator[bytes]]) -> UnpackedImages:
    """The `count` images of cache file `path`, of which `index` is intact; else `blobs()` are written there first.

    Raises OSError where they cannot be.
    """
    with locked(path):
        found = UnpackedImages.open(path, count)
        if found is not None and found.read(index) is not None:
            return found
        if path.exists():
            log.warning("%s is damaged: its images are unpacked again", path)
        for temporary in path.parent.glob(f".{path.name}.*.tmp"):  # left by a process that was killed
            temporary.unlink(missing_ok=True)
        written: list[UnpackedImages] = []
        write_atomically(path, lambda temporary: written.append(_write(temporary, path, blobs())))
        return written[0]


def _write(temporary: Path, path: Path, blobs: Iterator[bytes]) -> UnpackedImages:
    end, ends_N, digests = 0, [], bytearray()
    with temporary.open("wb") as file:
        for blob in blobs:
            file.write(blob)
            end += len(blob)
            ends_N.append(end)
            digests += hashlib.sha256(blob).digest()
        made = UnpackedImages(path, np.asarray(ends_N, np.int64), bytes(digests))
        file.write(made.ends_N.data)
        file.write(made.digests)
        file.write(_seal(path, len(ends_N), made.ends_N.tobytes(), made.digests))
    return made


def _seal(path: Path, count: int, ends: bytes, digests: bytes) -> bytes:
    return hashlib.sha256(repr((FORMAT, path.name, count)).encode() + ends + digests).digest()
