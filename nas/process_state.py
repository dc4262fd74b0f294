"""What no plug-in may change in the process as it is imported: the working directory, and that there are streams.

Relative paths would name other files from then on, and results would be printed to nobody.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nas.errors import SpecError


@contextmanager
def process_unchanged() -> Iterator[None]:
    """Raise SpecError if the block changes the working directory, which is restored, or closes stdout or stderr.

    >>> with process_unchanged():
    ...     importlib.import_module("my_block")
    """
    folder = os.getcwd()
    streams = {name: stream for name in ("stdout", "stderr") if (stream := getattr(sys, name)) is not None}
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
