"""Runs one job in a worker process and records its outcome, however training ends.

- Out of memory, a diverged loss, a genome that raises, a plug-in that leaves by `sys.exit()`: recorded, with the reason
  in result.json and the traceback in failure.txt. The process takes the next job. These errors are deterministic and
  not retried, except:
- Out of memory on a GPU shared with other workers may be caused by them: `CrowdedError` requests one exclusive rerun
  (nas/engine/ray_tune.py), whose outcome is recorded.
- An error that breaks the GPU context: recorded, and the process exits, so that the next job gets a fresh one.
- A full disk, an unwritable folder, images that cannot be read or are others on this machine: no outcome;
  `StorageError` stops the run, and the trial is resumable. Any other trial would meet the same.
- A worker of an earlier driver may still hold the trial. Ray ends it seconds after that driver was killed, so this
  process waits for it. On a disconnected machine it may never end; the run then stops with a message.
- The process dies, or another one that trains the trial with it: there is no result.json, and the driver handles it
  (nas/engine/driver.py).

The work on a job is a `Work`, usually `TrainJob` (nas/engine/training.py). This module does not import torch, so a
worker starts within a second.
"""

from __future__ import annotations

import gc
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.engine.job import Job, Outcome
from nas.engine.ledger import STORAGE
from nas.errors import DataError, RunError, encodable, first_line, is_memory, text_of
from nas.files import try_lock, write_text
from nas.plugins import blamed
from nas.scratch import scratch
from nas.signals import is_interrupt

if TYPE_CHECKING:
    from nas.engine.storage import Storage

Report = Callable[[dict[str, Any] | None], None]
Work = Callable[[Job, Report], dict[str, Any]]
"""Works on a job: returns `accuracy`, `epochs` and `seconds`. Picklable.

It calls the report after each epoch, with its row, and after a checkpoint within one, with None. It also returns
`state: "paused"` if it stops at `job.until` with epochs left to train.
"""


RELEASE_SECONDS = 120  # seconds to wait for another process's lock on a trial; workers outlive their driver by 3 s


class StorageError(RuntimeError):
    """The run directory or the images cannot be used; no trial is marked as failed. The text is for the user."""

    @classmethod
    def of(cls, error: BaseException) -> StorageError:
        if isinstance(error, DataError):
            return cls(f"the images cannot be read: {error}")
        return cls(f"the run directory cannot be written: {error}")


class LostRankError(RuntimeError):
    """Another process that trained the same trial has died (nas/engine/crew.py): as if this one had."""


class CrowdedError(RuntimeError):
    """Out of memory on a GPU shared with other workers."""


def run_job(job: Job, work: Work, report: Report, *, neighbours: bool = False) -> Outcome:
    """Run `work` on `job`, write its outcome and return it; an existing outcome is kept.

    neighbours: other workers may be using the same GPU. Raises StorageError if the directory cannot be used,
    LostRankError from the work, and, with neighbours, CrowdedError if memory ran out: only the work's own files are
    written then.
    """
    crowded = False
    with alone(job.directory):
        ended = Outcome.read(job.directory)
        if ended is not None:
            return ended
        begin = time.perf_counter()
        try:
            outcome = Outcome.of(job, **{"state": "complete", **work(job, report)})
        except BaseException as error:
            if isinstance(error, (StorageError, LostRankError)) or is_interrupt(error):
                raise
            if not isinstance(error, Exception) and blamed(error) is None:  # Ray stops a trial by SystemExit
                raise
            if _is_storage(error):
                raise StorageError.of(error) from error
            outcome = Outcome.of(job, "failed", reason=_reason(error), seconds=time.perf_counter() - begin)
            details = encodable(traceback.format_exc())
            crowded = neighbours and is_memory(error)
        try:
            if outcome.state == "failed" and not crowded:
                from nas.train.checkpoint import TRANSIENT  # imports torch, already loaded if training failed

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
def workplace(
    trials: Path, storage: Storage | None, trial: str, *, there: str = "trials"
) -> Iterator[tuple[Path, Callable[[bool], None]]]:
    """The working directory, and a function that saves its files: call it after each epoch, and with True at the end.

    Without a storage, this is the trial directory and there is nothing to save. there: what the folder of the trials is
    called in the storage.
    """
    if storage is None:
        yield trials / trial, lambda ended: None
        return

    def keep(ended: bool) -> None:
        try:
            storage.push(directory, f"{there}/{trial}", seen, prune=(lambda name: True) if ended else None)
        except RunError as error:
            raise StorageError(str(error)) from error

    with scratch("nas-trial-") as directory:
        try:
            seen = storage.pull(f"{there}/{trial}", directory)
        except RunError as error:
            raise StorageError(str(error)) from error
        yield directory, keep


def _is_storage(error: BaseException) -> bool:
    """Whether it is a storage error. torch (inline_container, its archives) and safetensors only say so in text."""
    text = text_of(error)
    by_words = "inline_container" in text or "No space left on device" in text
    return by_words or isinstance(error, DataError) or (isinstance(error, OSError) and error.errno in STORAGE)


def _reason(error: BaseException) -> str:
    text = first_line(error)
    if is_memory(error):
        return f"out of memory: {text}"
    return text if type(error).__module__.startswith("nas.") else f"{type(error).__name__}: {text}"


def _recover() -> None:
    """Release the GPU memory of a training; exit the process if its GPU context is broken."""
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
def alone(directory: Path, lock: str = "trial.json") -> Iterator[None]:
    """Lock the trial directory by a file in it. Raises StorageError if another process does not release it."""
    try:
        file = open(directory / lock, "r+")  # noqa: SIM115  (closed below)
    except OSError as error:
        raise StorageError.of(error) from error
    with file:
        end = time.monotonic() + RELEASE_SECONDS
        while not try_lock(file):
            if time.monotonic() > end:
                message = f"{directory} is still held by a worker of an earlier run; end it (lsof {file.name}), or wait"
                raise StorageError(message)
            time.sleep(0.1)
        for temporary in directory.glob(".*.tmp"):  # left by a kill during a write
            temporary.unlink()
        yield
