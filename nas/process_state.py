"""What no plug-in may change in the process as it is imported: the working directory, streams, handlers of signals.

Relative paths would name other files from then on, results would be printed to nobody, and a run could not be
interrupted, or would end without its front.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nas.errors import SpecError
from nas.signals import SIGNALS


@contextmanager
def process_unchanged() -> Iterator[None]:
    """Raise SpecError if the block changes the working directory, closes stdout or stderr, or changes what signals do.
    All is restored.

    >>> with process_unchanged():
    ...     importlib.import_module("my_block")
    """
    folder = os.getcwd()
    streams = {name: stream for name in ("stdout", "stderr") if (stream := getattr(sys, name)) is not None}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    if (now := os.getcwd()) != folder:
        os.chdir(folder)
        raise SpecError(
            f"it changes the working directory to {now}, for all paths of this process: write paths in full"
        )
    for name, before in streams.items():
        stream = getattr(sys, name)
        if stream is None or stream.closed:
            setattr(sys, name, before)
            raise SpecError(f"it closes sys.{name}, where what is found here has to go")
    changed = [number for number in SIGNALS if signal.getsignal(number) != handlers[number]]
    for number in changed:
        signal.signal(number, handlers[number])
    if changed:
        names = " and ".join(number.name for number in changed)
        raise SpecError(f"it takes {names} for itself, by which runs are interrupted: leave the handlers as they are")
