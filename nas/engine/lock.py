"""The lock of a directory: one process drives a run, or trains there. The kernel releases it however that one ends.

Some network file systems have no locks. A run goes on there without one, with a warning.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from nas.errors import RunError
from nas.files import open_lock, try_lock

log = logging.getLogger(__name__)


@contextmanager
def lock(directory: Path, folder: Path) -> Iterator[IO[str]]:
    """Hold `.lock` in a directory, which is yielded. It is made, and so is a folder in it.

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
        try:
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        except OSError as error:
            raise RunError(f"the directory is not writable: {error.strerror}", file=directory) from None
        yield file


def check_held(file: IO[str], directory: Path) -> None:
    """Raise RunError if the directory's `.lock` is no longer the file that is held: what is written there is lost."""
    try:
        there: os.stat_result | None = os.stat(directory / ".lock")
    except OSError:
        there = None
    if there is None or not os.path.samestat(there, os.fstat(file.fileno())):
        message = "the directory has been removed or replaced while this process was at work in it, which is now ended"
        raise RunError(message, file=directory)
