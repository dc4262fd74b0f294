"""Decoded images on disk, mapped into memory: a machine decodes once, and all its workers share one copy in memory.

    file = images (uint8, one after the other) | SHA-256 of each shard | seal
    seal = SHA-256 of (format, file name, shape, all shard digests)

A shard is a whole number of images, 32 MiB or so. Decisions:

- A file is checked before it is believed. Size and seal are checked when it is opened, which takes no time at any size;
  a shard is checked when a process first asks for an image in it. On any doubt, everything is decoded again.
- SHA-256 is what current processors have instructions for: 1.7 GB/s a core where this was measured (BLAKE2b: 0.9).
- It is one file, so that data and digests are replaced together, and a file is replaced and never changed: a process
  that has mapped the old one keeps it.
- Processes that want the same images at the same time wait for the first of them, and map what it has made.

Files lie in the cache (nas/cache.py), named by what they were made from: the source files with size and time of change,
and the form of the images.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas.cache import locked
from nas.files import write_atomically

log = logging.getLogger(__name__)

SHARD_BYTES = 2**25
DIGEST_BYTES = 32
FORMAT = "nas decoded images, version 1, uint8"


def file_state(path: Path) -> tuple[str, int, int]:
    """What changes when a file does: its place, size and time of change."""
    state = path.stat()
    return str(path.resolve()), state.st_size, state.st_mtime_ns


class DecodedImages:
    """N decoded images: `images` is uint8 (N, ...), in memory or mapped copy-on-write from a cache file.

    digests: of the shards of a mapped file, in order; none for images that were made in this process.
    """

    def __init__(self, images: Tensor, digests: Iterable[bytes] = ()):
        self.images = images
        self._unchecked = dict(enumerate(digests))

    @classmethod
    def open(cls, path: Path, shape: tuple[int, ...]) -> DecodedImages | None:
        """The images in a cache file, or None where there is no such file or its size or seal is wrong."""
        size, table = math.prod(shape), DIGEST_BYTES * len(_shards(shape))
        try:
            file = np.memmap(path, np.uint8, mode="c") if path.is_file() else np.zeros(0, np.uint8)
        except (OSError, ValueError):  # it cannot be read, or is empty
            return None
        if len(file) != size + table + DIGEST_BYTES:
            return None
        digests, seal = file[size:-DIGEST_BYTES].tobytes(), file[-DIGEST_BYTES:].tobytes()
        if seal != _seal(path, shape, digests):
            return None
        images = torch.from_numpy(file[:size].reshape(shape))
        return cls(images, [digests[at : at + DIGEST_BYTES] for at in range(0, table, DIGEST_BYTES)])

    def intact(self, indices: np.ndarray) -> bool:
        """Whether these images are as they were written. A shard is read once in a process, and then remembered."""
        shards = _shards(tuple(self.images.shape))
        touched = np.unique(indices // len(shards[0])).tolist() if len(indices) else []
        touched = [number for number in touched if number in self._unchecked]
        for number, digest in zip(touched, _digests(self.images, [shards[n] for n in touched]), strict=True):
            if digest != self._unchecked[number]:
                return False
            del self._unchecked[number]
        return True


def keep(path: Path, shape: tuple[int, ...], indices: np.ndarray, make: Callable[[], Tensor]) -> DecodedImages:
    """The images of cache file `path`, those at `indices` being checked; if any is not intact, `make` all of them.

    They are made in memory and then written, rather than written through the map: a full disk is then an error that
    can be survived, and not a bus error. Where the file cannot be written, they stay in memory.
    """
    if (found := _checked(path, shape, indices)) is not None:
        return found
    with locked(path):
        if (found := _checked(path, shape, indices)) is not None:
            return found
        if path.exists():
            log.warning("%s is damaged: its images are decoded again", path)
        images = make()
        try:
            for temporary in path.parent.glob(f".{path.name}.*.tmp"):  # left by a process that was killed
                temporary.unlink(missing_ok=True)
            write_atomically(path, lambda temporary: _write(temporary, path, images))
        except OSError as error:
            _warn_not_kept(path.parent, str(error.strerror or error))
            return DecodedImages(images)
    return _checked(path, shape, indices) or DecodedImages(images)


def _checked(path: Path, shape: tuple[int, ...], indices: np.ndarray) -> DecodedImages | None:
    found = DecodedImages.open(path, shape)
    return found if found is not None and found.intact(indices) else None


@cache
def _warn_not_kept(folder: Path, reason: str) -> None:
    """Once in a process, however many sets are decoded."""
    log.warning("decoded images stay in memory: they cannot be kept in %s (%s)", folder, reason)


def _write(temporary: Path, path: Path, images: Tensor) -> None:
    shape = tuple(images.shape)
    digests = b"".join(_digests(images, _shards(shape)))
    with temporary.open("wb") as file:
        file.write(images.contiguous().numpy().data)
        file.write(digests)
        file.write(_seal(path, shape, digests))


def _shards(shape: tuple[int, ...]) -> list[range]:
    """The images of each shard: as many whole ones as SHARD_BYTES holds, one at least."""
    step = max(1, SHARD_BYTES // math.prod(shape[1:]))
    return [range(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]


def _digests(images: Tensor, shards: list[range]) -> list[bytes]:
    """hashlib lets go of the interpreter's lock, so that threads are worth having."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return list(
            pool.map(lambda s: hashlib.sha256(images[s.start : s.stop].contiguous().numpy().data).digest(), shards)
        )


def _seal(path: Path, shape: tuple[int, ...], digests: bytes) -> bytes:
    return hashlib.sha256(repr((FORMAT, path.name, shape)).encode() + digests).digest()
