"""Temporary folders that nobody has to clear away after a kill.

A process that is killed leaves its folder, with a checkpoint in it, and in weeks a machine's disk is full. The kernel
knows who lives: a process holds a lock (flock) on its folder, which ends with the process, however that ends. Whoever
makes a folder removes those of the same kind that nobody holds.

A folder is left alone for some minutes after its last change, since its maker may not have locked it yet, and since
Ray's agents outlive a driver by a minute. Where the file system has no locks, nothing is removed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

QUIET = 600.0  # seconds without a change


@contextmanager
def scratch(prefix: str, place: str | None = None) -> Iterator[Path]:
    """A folder of the user's own in `place`, or where temporary files go; removed at the end. prefix: its kind.

    >>> with scratch("nas-work-") as folder:
    ...     (folder / "checkpoint.pt").touch()
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    handle = os.open(folder, os.O_RDONLY)
    try:
        held = _locked(handle)
        for other in folder.parent.glob(f"{prefix}????????") if held else ():
            if other != folder:
                _remove_if_left(other)
        yield folder
    finally:
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    with suppress(OSError):  # of another user, or gone
        if time.time() - folder.stat().st_mtime < QUIET:
            return
        handle = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
        try:
            if _locked(handle):
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
