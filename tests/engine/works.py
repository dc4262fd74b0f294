"""What the engine's tests let a worker do instead of training; importable in the worker processes."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.engine import Job
from nas.engine.worker import Report
from nas.errors import DataError
from nas.files import write_text
from nas.heartbeat import beat

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
    if behaviour == "exhaust" or (behaviour == "exhaust once" and _first_time(job)):
        import torch

        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
    if behaviour == "disk":
        raise OSError(errno.ENOSPC, "No space left on device")
    if behaviour == "die":
        os._exit(9)
    if behaviour == "die once" and _first_time(job):
        os._exit(9)
    if behaviour == "stumble":
        return step(job, stumbling(report))
    if behaviour == "threads":
        import torch

        return result(job, epochs=torch.get_num_threads(), seconds=float(os.environ["OMP_NUM_THREADS"]))
    return succeed(job, report)


def stumbling(report: Report) -> Report:
    """The worker dies after each epoch but the last."""

    def and_die(row: dict[str, Any]) -> None:
        report(row)
        if row["epoch"] < EPOCHS:
            os._exit(9)

    return and_die


def _first_time(job: Job) -> bool:
    mark = job.directory / "mark"
    first = not mark.exists()
    mark.touch()
    return first


EPOCHS = 3


def step(job: Job, report: Report, pause: float = 0.02) -> dict[str, Any]:
    """Trains nothing, in `EPOCHS` epochs, with a checkpoint after each; keeps a log of what is done, by whom, where.

    The last checkpoint stays, as the weights of a training do: what is done once is not done again.
    """
    checkpoint = job.directory / "checkpoint.pt"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    accuracy = int(job.hash, 16) % 1000 / 1000
    for epoch in range(done + 1, EPOCHS + 1):
        with (job.directory / "log").open("a") as file:
            file.write(f"{os.getpid()} {os.environ.get('NODE', '-')} {epoch}\n")
        time.sleep(pause)
        write_text(checkpoint, str(epoch))
        report({"epoch": epoch, "accuracy": accuracy})
    return result(job, accuracy=accuracy, epochs=EPOCHS)


def crowd(job: Job, report: Report) -> dict[str, Any]:
    """`step`, slowly, and not before two nodes are at work; the fifth trial needs a second try."""
    run = job.directory.parents[1]
    (run / f"seen-{os.environ['NODE']}").touch()
    while len(list(run.glob("seen-*"))) < 2:
        time.sleep(0.05)
    if job.number == 4 and _first_time(job):
        raise RuntimeError("CUDA error: out of memory")
    return step(job, report, pause=0.3)


def afar(job: Job, report: Report) -> dict[str, Any]:
    """`step`, where the run directory is not to be seen."""
    assert job.directory.name.startswith("nas-trial-"), job.directory
    assert job.directory.parent.name != "trials"
    return step(job, report, pause=0.2)


@dataclass(frozen=True)
class Hang:
    """`step`, but the parameter `behaviour` says how it hangs after its first epoch: once, or in each attempt.

    The files `hanging-<trial>` in the folder say which process hangs.
    """

    folder: Path

    def __call__(self, job: Job, report: Report) -> dict[str, Any]:
        behaviour = job.parameters["behaviour"]

        def and_hang(row: dict[str, Any]) -> None:
            report(row)
            if behaviour and row["epoch"] == 1:
                self.stop_here(job)

        if behaviour == "beat":
            beat()
            self.stop_here(job)
        if behaviour == "lock" and (job.directory / "checkpoint.pt").exists():
            self.stop_here(job)
        return step(job, and_hang)

    def stop_here(self, job: Job) -> None:
        write_text(self.folder / f"hanging-{job.id}", str(os.getpid()))
        if job.parameters["behaviour"] == "SIGSTOP":
            os.kill(os.getpid(), signal.SIGSTOP)  # which may come to another thread first
        wait_forever()


def wait_forever() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def called(folder: Path, behaviour: str) -> str:
    """A call of nas/engine/actors.py: does what `behaviour` says, or answers with it and the process."""
    times = folder / f"called-{behaviour}"
    with times.open("a") as file:
        file.write(f"{os.getpid()}\n")
    if behaviour == "die" or (behaviour == "die once" and len(times.read_text().splitlines()) == 1):
        os._exit(9)
    if behaviour == "hang":
        beat()
        write_text(folder / f"hanging-{os.getpid()}", str(os.getpid()))
        wait_forever()
    if behaviour == "refuse":
        raise DataError("not readable", file="images.parquet")
    if behaviour == "raise":
        raise ValueError("this call raises")
    if behaviour == "plug-in":
        from nas.data.registry import SOURCES

        SOURCES["odd"].read("odd")
    return f"{behaviour} {os.getpid()}"
