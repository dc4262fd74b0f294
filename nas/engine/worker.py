"""What happens to one job in a worker process: whatever its training does, an outcome is written down.

- Out of memory, a diverged loss, a genome that raises: recorded, with the reason in result.json and the traceback in
  failure.txt; the process lives on and takes the next job. None of them is tried again, for it would end the same, but:
- Out of memory on a GPU that is shared with other workers may be their doing: `CrowdedError` asks for one more try,
  alone (nas/engine/ray_tune.py). What happens then is recorded.
- A GPU that an error has left unusable: recorded, and the process ends, so that the next job gets a fresh one.
- A full disk or a folder that cannot be written is nobody's outcome: `StorageError` stops the run, the trial resumes.
- The process of an earlier driver may still be at the same trial. Ray ends it seconds after that driver was killed, so
  this one waits for it; in vain only where a machine is cut off, and then the run stops with a message.
- The process dies: no result.json, so the driver sees to it (nas/engine/ray_tune.py).

What is done to a job is a `Work`, usually `TrainJob` (nas/engine/training.py). This module does not import torch: a
worker is up in a second, and pays for what its work imports.
"""

from __future__ import annotations

import fcntl
import gc
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nas.engine.job import Job, Outcome
from nas.engine.ledger import STORAGE
from nas.errors import RunError
from nas.files import write_text

if TYPE_CHECKING:
    from nas.engine.storage import Storage

Report = Callable[[dict[str, Any]], None]
Work = Callable[[Job, Report], dict[str, Any]]
"""What to do with a job: returns `accuracy`, `epochs` and `seconds`, calls the report after each epoch. Picklable.

A work that stops at `job.until` with epochs left to train returns `state: "paused"` as well.
"""


RELEASE_SECONDS = 120  # seconds for another process to let go of a trial; workers live 3 s longer than their driver


class StorageError(RuntimeError):
    """The run directory cannot be used: no trial is to blame. The text is for the user."""

    @classmethod
    def of(cls, error: Exception) -> StorageError:
        return cls(f"the run directory cannot be written: {error}")


class CrowdedError(RuntimeError):
    """Out of memory on a GPU that other workers use as well."""


def run_job(job: Job, work: Work, report: Report, *, neighbours: bool = False) -> Outcome:
    """Do `work` on `job`, write its outcome and return it; a job that has one already keeps it.

    neighbours: other workers may be using the same GPU. Raises StorageError if the directory cannot be used, and, with
    neighbours, CrowdedError if memory ran out: nothing is written then but the work's own files.
    """
    crowded = False
    with _alone(job.directory):
        ended = Outcome.read(job.directory)
        if ended is not None:
            return ended
        begin = time.perf_counter()
        try:
            outcome = Outcome.of(job, **{"state": "complete", **work(job, report)})
        except Exception as error:
            if isinstance(error, StorageError):
                raise
            if _is_storage(error):
                raise StorageError.of(error) from error
            outcome = Outcome.of(job, "failed", reason=_reason(error), seconds=time.perf_counter() - begin)
            details = traceback.format_exc()
            crowded = neighbours and _is_memory(error)
        try:
            if outcome.state == "failed" and not crowded:
                from nas.train.checkpoint import TRANSIENT  # imports torch, which is here by now if a training failed

                write_text(job.directory / "failure.txt", details)
                for name in TRANSIENT:
                    (job.directory / name).unlink(missing_ok=True)
            if not crowded:
                outcome.write(job.directory)
        except OSError as error:
            raise StorageError.of(error) from error
    if outcome.state == "failed" or neighbours:
        _recover()
    if crowded:
        raise CrowdedError(outcome.reason)
    return outcome


@contextmanager
def workplace(trials: Path, storage: Storage | None, trial: str) -> Iterator[tuple[Path, Callable[[bool], None]]]:
    """The directory to work in, and what keeps its files: to be called after each epoch, and with True at the end.

    Without a storage, that is the trial directory, where files are kept already.
    """
    if storage is None:
        yield trials / trial, lambda ended: None
        return

    def keep(ended: bool) -> None:
        try:
            storage.push(scratch, f"trials/{trial}", seen, prune=ended)
        except RunError as error:
            raise StorageError(str(error)) from error

    scratch = Path(tempfile.mkdtemp(prefix="nas-trial-"))
    try:
        try:
            seen = storage.pull(f"trials/{trial}", scratch)
        except RunError as error:
            raise StorageError(str(error)) from error
        yield scratch, keep
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _is_storage(error: Exception) -> bool:
    """Whether an error is the disk's. torch (inline_container writes its archives) and safetensors say so in words."""
    text = str(error)
    by_words = "inline_container" in text or "No space left on device" in text
    return by_words or (isinstance(error, OSError) and error.errno in STORAGE)


def _is_memory(error: Exception) -> bool:
    """Whether memory ran out. CUDA says so by a class of its own, or in words; its libraries call it ALLOC_FAILED."""
    by_words = isinstance(error, RuntimeError) and any(w in str(error) for w in ("out of memory", "ALLOC_FAILED"))
    return by_words or type(error).__name__ in ("OutOfMemoryError", "MemoryError")


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else "no message"
    if _is_memory(error):
        return f"out of memory: {text}"
    return text if type(error).__module__.startswith("nas.") else f"{type(error).__name__}: {text}"


def _recover() -> None:
    """Give back the GPU memory of a training; leave the process where a failure broke its GPU context."""
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
    """Hold the trial directory. Raises StorageError if another process does not let go of it."""
    try:
        file = open(directory / "trial.json", "r+")  # noqa: SIM115  (closed below)
    except OSError as error:
        raise StorageError.of(error) from error
    with file:
        end = time.monotonic() + RELEASE_SECONDS
        while not _locked(file):
            if time.monotonic() > end:
                message = f"{directory} is still held by a worker of an earlier run; end it (lsof {file.name}), or wait"
                raise StorageError(message)
            time.sleep(0.1)
        for temporary in directory.glob(".*.tmp"):  # what a kill in the middle of a write left behind
            temporary.unlink()
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
