"""The signals that end a program, as the one interruption that Python code knows: KeyboardInterrupt.

    SIGINT    Ctrl-C
    SIGTERM   Slurm at the end of the time, systemd, `docker stop`, `kill`
    SIGHUP    a terminal that is closed, a connection that is lost

The first one raises KeyboardInterrupt; what follows within some seconds is ignored, so that files are finished and the
front is written however often Ctrl-C is pressed. A signal that the caller has ignored (`nohup`) stays ignored.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 10.0  # seconds after a signal until another one counts


class Interruption:
    """The first signal that came, or None."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def code(self) -> int:
        """The exit code of a program that a signal has ended, as a shell counts."""
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """The signals raise KeyboardInterrupt in the main thread until the end of the block. After one has, they are
    ignored: the process ends.

    >>> with interruptible() as interruption:
    ...     main()
    """
    interruption, until = Interruption(), 0.0
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal until
        if number == signal.SIGHUP:
            _leave(terminals)
        if time.monotonic() < until:
            return
        until = time.monotonic() + PATIENCE
        interruption.signal = interruption.signal or number
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, interrupt)
    try:
        yield interruption
    finally:
        for number in heard:
            signal.signal(number, signal.SIG_IGN if interruption.signal else before[number])


def _leave(terminals: list[int]) -> None:
    """Nothing can be written any more to a terminal that is closed; every attempt would be an error."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nothing, number)
    os.close(nothing)
