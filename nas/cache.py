"""What can be made again, kept on disk so that a machine makes it once: decoded images, timings of the device.

Everything lies in `$XDG_CACHE_HOME/nas` (`~/.cache/nas`), named by a hash of what it was made from. Deleting the folder
is always safe. Where it cannot be written, everything works without it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.environment import cache_home


def cache_file(key: object, suffix: str) -> Path:
    """Where the artefact made from `key` (anything that JSON can hold) lies or would lie."""
    folder = cache_home() / "nas"
    return folder / (hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32] + suffix)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the one process of this machine that makes a cache file; without a lock where none can be had."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:
        yield
        return
    with file:
        yield
        lock.unlink(missing_ok=True)
