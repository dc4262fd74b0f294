"""Signs of life of long work: every training step, evaluated batch and decoded image calls `beat()`.

Whoever watches the process sets a listener (nas/engine/ray_tune.py). Without one, a beat does nothing. A process does
one piece of work at a time, so the listener belongs to the process, and the work does not need to hand it down.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[], None]
_listener: Listener | None = None


def beat() -> None:
    """Say that the work gets on. Cheap enough for every step."""
    if _listener is not None:
        _listener()


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Call `listener` at every beat, in the thread that beats.

    >>> beats = []
    >>> with heard_by(lambda: beats.append("step")):
    ...     beat()
    >>> beats
    ['step']
    """
    global _listener
    before, _listener = _listener, listener
    try:
        yield
    finally:
        _listener = before


def _forget() -> None:
    global _listener
    _listener = None


os.register_at_fork(after_in_child=_forget)  # such as a loader's process, which cannot report for its parent
