"""The lock of a directory: one process drives a run, or trains there. The kernel releases it however that one ends.

Some network file systems have no locks. A run goes on there without one, with a warning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import RunError
from nas.files import open_lock, try_lock

log = logging.getLogger(__name__)


@contextmanager
def lock(directory: Path, folder: Path) -> Iterator[None]:
    """Hold `.lock` in a directory. It is made, and so is a folder in it.

    Raises RunError if another process holds the lock, with its pid, and if the directory is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open_lock(directory / ".lock")
    except OSError as error:
        raise RunError(f"the directory is not writable: {error}", file=directory) from None
    with file:
        try:
            free = try_lock(file)
        except OSError as error:
            log.warning("%s: no lock can be taken here (%s); keep other processes out of it", directory, error.strerror)
            free = True
        if not free:
            pid = file.read().strip()
            message = f"busy: another process (pid {pid}) is at work in it; wait for it, or choose another directory"
            raise RunError(message, file=directory)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
