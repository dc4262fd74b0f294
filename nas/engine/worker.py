"""What happens to one job in a worker process: whatever its training does, an outcome is written down.

- Out of memory, a diverged loss, a genome that raises: recorded, with the reason in result.json and the traceback in
  failure.txt; the process lives on and takes the next job.
- A GPU that an error has left unusable: recorded, and the process ends, so that the next job gets a fresh one.
- A full disk or a folder that cannot be written is nobody's outcome: `StorageError` stops the run, the trial resumes.
- The process dies: no result.json, so the driver sees to it (nas/engine/ray_tune.py).

What is done to a job is a `Work`, usually `TrainJob` (nas/engine/training.py). This module does not import torch: a
worker is up in a second, and pays for what its work imports.
"""

from __future__ import annotations

import fcntl
import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.engine.job import Job, Outcome
from nas.engine.ledger import STORAGE
from nas.files import write_text

Report = Callable[[dict[str, Any]], None]
Work = Callable[[Job, Report], dict[str, Any]]
"""What to do with a job: returns `accuracy`, `epochs` and `seconds`, calls the report after each epoch. Picklable."""


class StorageError(RuntimeError):
    """The run directory cannot be written: no trial is to blame."""


def run_job(job: Job, work: Work, report: Report) -> Outcome:
    """Do `work` on `job`, write its outcome and return it; a job that has one already keeps it.

    Raises StorageError if nothing can be written.
    """
    with _alone(job.directory):
        ended = Outcome.read(job.directory)
        if ended is not None:
            return ended
        begin = time.perf_counter()
        try:
            outcome = Outcome.of(job, "complete", **work(job, report))
        except Exception as error:
            if _is_storage(error):
                raise StorageError(str(error)) from error
            outcome = Outcome.of(job, "failed", reason=_reason(error), seconds=time.perf_counter() - begin)
            details = traceback.format_exc()
        try:
            if outcome.state == "failed":
                write_text(job.directory / "failure.txt", details)
                (job.directory / "checkpoint.pt").unlink(missing_ok=True)
            outcome.write(job.directory)
        except OSError as error:
            raise StorageError(str(error)) from error
    if outcome.state == "failed":
        _recover()
    return outcome


def _is_storage(error: Exception) -> bool:
    """Whether an error is the disk's. torch (inline_container writes its archives) and safetensors say so in words."""
    text = str(error)
    by_words = "inline_container" in text or "No space left on device" in text
    return by_words or (isinstance(error, OSError) and error.errno in STORAGE)


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else "no message"
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError"):
        return f"out of memory: {text}"
    return text if type(error).__module__.startswith("nas.") else f"{type(error).__name__}: {text}"


def _recover() -> None:
    """Give back the GPU memory of a failed training; leave the process where the failure broke its GPU context."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError:
        os._exit(1)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold the trial directory: a worker may outlive its killed driver for a moment, and meet its successor here."""
    with open(directory / "trial.json", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
