"""An on-disk cache of what is costly to make again: decoded images, timings of a device.

Files lie in `$XDG_CACHE_HOME/nas` (default `~/.cache/nas`), named by a hash of what they were made from. Deleting the
folder is always safe. If it cannot be written, nothing is cached.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nas.environment import cache_home
from nas.files import open_lock, try_lock
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
        while (taken := _taken(file)) and not _is_at(lock, file):
            file.close()
            file = open_lock(lock)
    except OSError:
        yield
        return
    with file:
        yield
        if taken:
            lock.unlink(missing_ok=True)


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is still the one at the path. Whoever had the lock removes its file."""
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _taken(file: IO[str]) -> bool:
    """Wait for the lock; False if it is not to be had. While it waits it beats, since the holder works."""
    patient_until = time.monotonic() + PATIENCE
    try:
        while not try_lock(file):
            beat()
            pid, _, host = os.pread(file.fileno(), 300, 0).decode(errors="replace").partition(" ")
            if host == socket.gethostname() and _is_suspended(pid):
                log.warning("process %s makes the same file for the cache, and is suspended; going on without it", pid)
                return False
            if time.monotonic() > patient_until:
                patient_until = math.inf
                log.warning("waiting for process %s on %s, which makes the same file for the cache", pid, host)
            time.sleep(0.1)
        os.truncate(file.fileno(), 0)
        os.pwrite(file.fileno(), f"{os.getpid()} {socket.gethostname()}".encode(), 0)
        return True
    except OSError:  # no locks here, or no space
        return False


def _is_suspended(pid: str) -> bool:
    """As Linux tells of its processes; elsewhere none is."""
    try:
        return Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, ValueError, IndexError):
        return False
