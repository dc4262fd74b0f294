"""What the engine's tests let a worker do instead of training; importable in the worker processes."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

from nas.engine import Job
from nas.engine.worker import Report

# torch is imported where it is needed, so that workers start in a second


def result(job: Job, **more: Any) -> dict[str, Any]:
    return {"accuracy": job.number / 100, "epochs": 1, "seconds": 0.0} | more


def succeed(job: Job, report: Report) -> dict[str, Any]:
    """Reports one epoch; takes long enough that two workers overlap."""
    report({"epoch": 1, "accuracy": job.number / 100, "loss": 0.5})
    time.sleep(0.05)
    return result(job)


def linger(job: Job, report: Report) -> dict[str, Any]:
    """Never ends by itself."""
    (job.directory / "lingering").touch()
    time.sleep(600)
    return result(job)


def behave(job: Job, report: Report) -> dict[str, Any]:
    """Does what the parameter `behaviour` says."""
    behaviour = job.parameters["behaviour"]
    if behaviour == "raise":
        raise ValueError("this genome raises\nwith a second line")
    if behaviour == "diverge":
        from nas.train import TrainingDiverged

        raise TrainingDiverged(2, 17)
    if behaviour == "exhaust":
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    if behaviour == "disk":
        raise OSError(errno.ENOSPC, "No space left on device")
    if behaviour == "die":
        os._exit(9)
    if behaviour == "die once":
        mark = Path(job.directory / "died")
        if not mark.exists():
            mark.touch()
            os._exit(9)
    if behaviour == "threads":
        import torch

        return result(job, epochs=torch.get_num_threads(), seconds=float(os.environ["OMP_NUM_THREADS"]))
    return succeed(job, report)
