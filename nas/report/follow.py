"""The page of a run in progress, written again and again until the run ends; an open page loads itself anew as often.

What the reader chose (axes, filters, pins) is in the page's address and outlives the reload. The run has ended when its
front is written and no trial has ended since (nas/report/run.py); one that was killed is followed until Ctrl-C.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from nas.errors import RunError
from nas.files import write_text
from nas.report.page import page
from nas.report.run import read_run

EVERY = 60.0  # seconds


def follow(directory: Path, every: float = EVERY) -> Iterator[Path]:
    """Write the page every so many seconds, and yield its path each time. Figures are left for `nas report`.

    Raises RunError if `directory` is no run, or an ablation, which has no page.
    """
    while True:
        began, run = time.monotonic(), read_run(directory)
        if run.facts.get("kind") == "ablation":
            raise RunError("an ablation has no page to follow; `nas report` writes its table so far", file=directory)
        write_text(directory / "report.html", page(run, refresh=None if run.ended else every))
        yield directory / "report.html"
        if run.ended:
            return
        time.sleep(max(1.0, every - (time.monotonic() - began)))
