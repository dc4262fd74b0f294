"""The lock of a run: one process drives it. The kernel releases it however that process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import RunError
from nas.files import open_lock


@contextmanager
def lock(directory: Path, folder: Path) -> Iterator[None]:
    """Hold `.lock` in a directory. It is made, and so is a folder in it.

    Raises RunError if another process holds the lock, with its pid, and if the directory is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open_lock(directory / ".lock")
    except OSError as error:
        raise RunError(f"the run directory is not writable: {error}", file=directory) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = file.read().strip()
            message = f"busy: another process (pid {pid}) is at work in it; wait for it, or choose another directory"
            raise RunError(message, file=directory) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
