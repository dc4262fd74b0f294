"""Converts termination signals to KeyboardInterrupt.

    SIGINT    Ctrl-C
    SIGTERM   Slurm at the time limit, systemd, `docker stop`, `kill`
    SIGHUP    a closed terminal, a lost connection
    SIGUSR1   Slurm's warning before the time limit (`--signal=USR1@60`)
    SIGXCPU   the limit of CPU time (`ulimit -t`)

The first one raises KeyboardInterrupt. Further ones within some seconds are ignored, so that files and the front are
written even if Ctrl-C is pressed repeatedly. A signal that the caller ignores (`nohup`) stays ignored. A third one that
is not ignored ends the process at once: code of a plug-in may catch every exception, and begin again.

Python drops an exception that is raised in a destructor or in a callback of C code, and tells `sys.unraisablehook`. An
interrupt that is dropped so is raised once more, a moment later.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

MOMENT = 0.01  # seconds after which an interrupt that was dropped is raised again
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGXCPU)
PATIENCE = 10.0  # seconds after a signal in which further ones are ignored


class Interruption:
    """The first signal received, or None."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def code(self) -> int:
        """The exit code of a program ended by a signal, by the shell's convention."""
        return 128 + (self.signal or signal.SIGINT)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Signals raise KeyboardInterrupt in the main thread until the end of the block. If one has, they are ignored
    afterwards, since the process is ending.

    >>> with interruptible() as interruption:
    ...     main()
    """
    interruption, until, raised = Interruption(), 0.0, 0
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal until, raised
        if number == signal.SIGHUP:
            _leave(terminals)
        if time.monotonic() < until:
            return
        until, raised = time.monotonic() + PATIENCE, raised + 1
        interruption.signal = interruption.signal or number
        if raised > 2:
            _end(interruption.code, frame)
        raise KeyboardInterrupt

    def dropped(unraisable: sys.UnraisableHookArgs) -> None:
        nonlocal until, raised
        if interruption.signal is None or not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)
            return
        until, raised = 0.0, raised - 1
        again = threading.Timer(MOMENT, _thread.interrupt_main, [interruption.signal])
        again.daemon = True
        again.start()

    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, interrupt)
    hook, sys.unraisablehook = sys.unraisablehook, dropped
    try:
        yield interruption
    finally:
        sys.unraisablehook = hook
        for number in heard:
            signal.signal(number, signal.SIG_IGN if interruption.signal else before[number])


def by_signal(error: KeyboardInterrupt) -> bool:
    """Whether a signal has raised it inside `interruptible`, and no code by itself."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals is globals()


def is_interrupt(error: BaseException) -> bool:
    """Whether it may be a signal's: those come to the main thread alone. Elsewhere code has raised it by itself."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


@contextmanager
def deferred() -> Iterator[None]:
    """Signals wait until the end of the block, in which processes are started.

    One that comes during a fork would be raised in what Python runs after it, where it is lost, and leaves the lock of
    `logging` held. The processes inherit that SIGHUP is blocked: a closed terminal does not end them.

    >>> with deferred():
    ...     ray.init()
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number in SIGNALS if before[number] is not signal.SIG_IGN]
    for number in heard:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if came:
            signal.raise_signal(came[0])


def rearm() -> None:
    """Install the handlers of signals again, in the main thread.

    When Ray's core ends, it gives SIGTERM back to the kernel's default, which ends a process without a word. Python's
    handler is lost then, although `signal.getsignal` still has it.
    """
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if (handler := signal.getsignal(number)) is not None:
                signal.signal(number, handler)


def _end(code: int, frame: FrameType | None) -> None:
    """End the process where it is. Files are replaced as wholes, so that none is left half written."""
    where = f" in {frame.f_code.co_filename}, line {frame.f_lineno}" if frame is not None else ""
    print(f"\nnas: interrupted three times, and still at work{where}: ended; the same command resumes", file=sys.stderr)
    sys.stderr.flush()
    os._exit(code)


def _leave(terminals: list[int]) -> None:
    """Redirect a closed terminal to /dev/null, since every write to it would fail."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for number in terminals:
        os.dup2(nothing, number)
    os.close(nothing)
