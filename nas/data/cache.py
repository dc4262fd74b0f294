"""Decoded images on disk, mapped into memory: decoded once a machine, one copy in memory for all workers.

Processes that want the same images at the same time wait for the first of them, and map what it has made.
The files lie in the cache (nas/cache.py), by what they were made from: source files with size and time of change, and
the form of the images.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nas.cache import locked
from nas.files import write_atomically

log = logging.getLogger(__name__)


def file_state(path: Path) -> tuple[str, int, int]:
    """What changes when a file does: its place, size and time of change."""
    state = path.stat()
    return str(path.resolve()), state.st_size, state.st_mtime_ns


def stored(path: Path) -> Tensor | None:
    """The uint8 tensor in a cache file, mapped copy-on-write, or None where there is none that can be read."""
    try:
        return torch.from_numpy(np.load(path, mmap_mode="c"))
    except (OSError, ValueError, EOFError):
        return None


def keep(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """What `path` holds; if it is not there, `make` it, write it, and return it mapped from there.

    The array is made in memory and then written, rather than written through the map: a full disk is then an error
    that can be survived, and not a bus error.
    """
    if (found := stored(path)) is not None:
        return found
    with locked(path):
        if (found := stored(path)) is not None:
            return found
        images = make()
        try:
            write_atomically(path, lambda temporary: _save(temporary, images.numpy()))
        except OSError as error:
            log.warning("decoded images are not kept in %s: %s", path.parent, error)
            return images
    return found if (found := stored(path)) is not None else images


def _save(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, array)
