"""An on-disk cache of what is costly to make again: decoded images, timings of a device.

Files lie in `$XDG_CACHE_HOME/nas` (default `~/.cache/nas`), named by a hash of what they were made from. Deleting the
folder is always safe. If it cannot be written, nothing is cached.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nas.environment import cache_home
from nas.files import open_lock
from nas.heartbeat import beat

log = logging.getLogger(__name__)
PATIENCE = 10.0  # seconds after which it is said for whom a process waits


def cache_file(key: object, suffix: str) -> Path:
    """The path of the file made from `key` (any JSON value), whether or not it exists."""
    folder = cache_home() / "nas"
    return folder / (hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32] + suffix)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a cache file against other processes of this machine.

    Go without one where none can be taken, or where who has it is suspended and may never go on: then two make the same
    file, and each puts it in place whole.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = open_lock(lock)
    except OSError:
        yield
        return
    with file:
        taken = _waited(file)
        if taken:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield
        if taken:
            lock.unlink(missing_ok=True)


def _waited(file: IO[str]) -> bool:
    """Whether the lock was taken; it is not from a process that is suspended. Who waits for one at work is at work."""
    patient_until = time.monotonic() + PATIENCE
    while not _taken(file):
        beat()
        file.seek(0)
        holder = file.read(20)
        if _is_suspended(holder):
            log.warning(
                "process %s, which makes the same file for the cache, is suspended; going on without it", holder
            )
            return False
        if time.monotonic() > patient_until:
            patient_until = math.inf
            log.warning("waiting for process %s, which makes the same file for the cache", holder or "of another run")
        time.sleep(0.1)
    return True


def _is_suspended(pid: str) -> bool:
    """As Linux tells of its processes; elsewhere none is."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, ValueError, IndexError):
        return False


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
