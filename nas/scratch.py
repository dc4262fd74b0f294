"""Temporary folders that do not outlive their process for long.

A folder is removed at its end. A process that is killed cannot do so: a trial's checkpoints and weights, or Ray's logs,
would fill the disk of a machine whose workers are killed for days. So each folder has a locked file that names it, and
the next process that makes one there removes those whose lock is free. The kernel releases a lock whenever its process
ends.
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

from nas.files import regular

ALIVE = ".alive"
MINUTE = 60  # a newer file may not be locked yet


@contextmanager
def scratch(prefix: str, place: Path | None = None) -> Iterator[Path]:
    """A temporary folder of this user alone, in `place` or where the environment says. Raises OSError if there is none.

    >>> with scratch("nas-trial-") as folder:
    ...     (folder / "checkpoint.pt").touch()
    """
    place = place or Path(tempfile.gettempdir())
    _sweep(place, prefix)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    try:
        with (folder / ALIVE).open("wb", buffering=0) as lock:
            with suppress(OSError):  # on a full disk, or where there are no locks: then it is not swept
                lock.write(os.fsencode(folder))
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path, prefix: str) -> None:
    """Remove the folders of processes that are gone. Those of other users cannot be opened."""
    for mark in place.glob(f"{prefix}*/{ALIVE}"):
        with suppress(OSError):
            if time.time() - mark.stat().st_mtime < MINUTE:
                continue
            with regular(mark).open("rb+") as lock:
                if lock.read() != os.fsencode(mark.parent):  # a copy that somebody made, or another program's
                    continue
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(mark.parent, ignore_errors=True)
