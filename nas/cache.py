"""An on-disk cache of what is costly to make again: decoded images, timings of a device.

Files lie in `$XDG_CACHE_HOME/nas` (default `~/.cache/nas`), named by a hash of what they were made from. Deleting the
folder is always safe. If it cannot be written, nothing is cached.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nas.environment import cache_home
from nas.files import regular
from nas.heartbeat import beat


def cache_file(key: object, suffix: str) -> Path:
    """The path of the file made from `key` (any JSON value), whether or not it exists."""
    folder = cache_home() / "nas"
    return folder / (hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32] + suffix)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a cache file against other processes of this machine; go without one where none can be taken."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
        file = regular(lock).open("w")
        while not _taken(file):  # whoever has it is at work, and so is who waits for it
            beat()
            time.sleep(0.1)
    except OSError:
        yield
        return
    with file:
        yield
        lock.unlink(missing_ok=True)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
