"""Out of memory beside a neighbour: the trial is run once more, alone, and completes (nas/engine/driver.py).

    trial 0   takes half of the free memory, and keeps it until trial 1 has tried
    trial 1   takes seven tenths of it: too much beside trial 0, and enough alone
    trial 2   trains as usual, meanwhile

On a GPU the memory is a tensor. In a rehearsal it is a number in a file, and Ray is told of a GPU that is not there;
the engine does the same then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.check import Found, Place, Skipped
from nas.engine import Job, Ledger, Outcome, Pool, Signal, Workers, session
from nas.engine.training import TrainJob
from nas.engine.worker import Report
from nas.environment import private_folder, quiet_ray, ray_access
from nas.genome import load_genome
from nas.train import Task, Training

SHARES = (0.5, 0.7, 0.0)  # of the free memory, by trial
LEAST = 4 * 2**30  # bytes; contexts of the workers and the training itself take about 1.5 GB
PATIENCE = 120.0  # seconds for the other trial
Attempt = tuple[int, float, float]  # trial, begin and end in seconds


@dataclass(frozen=True)
class Crowd:
    """The `Work` of the trials. free: bytes, None in a rehearsal. folder: of marks that all of them see."""

    train: TrainJob
    folder: Path
    free: int | None

    def __call__(self, job: Job, report: Report) -> dict[str, Any]:
        begin = time.time()
        try:
            if job.number == 1:
                wait_for(self.folder / "held")
            with self.memory(job):
                if job.number == 0:
                    (self.folder / "held").touch()
                    wait_for(self.folder / "tried")
                return self.train(job, report)
        finally:
            if job.number == 1:
                (self.folder / "tried").touch()
            with (self.folder / "attempts").open("a") as file:
                file.write(f"{job.number} {begin} {time.time()}\n")

    @contextmanager
    def memory(self, job: Job) -> Iterator[None]:
        """The trial's share, until the end of the block. Raises torch.OutOfMemoryError."""
        share = SHARES[job.number]
        if self.free is not None:
            block = torch.empty(int(share * self.free), dtype=torch.uint8, device="cuda")
            yield
            del block
            return
        if share + sum(float(file.read_text()) for file in self.folder.glob("share-*")) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. (rehearsed)")
        mine = self.folder / f"share-{job.number}"
        mine.write_text(str(share))
        try:
            yield
        finally:
            mine.unlink()


def wait_for(mark: Path) -> None:
    """Raises TimeoutError."""
    end = time.monotonic() + PATIENCE
    while not mark.exists():
        if time.monotonic() > end:
            raise TimeoutError(f"the other trial has not come to {mark.name!r} in {PATIENCE:.0f} s")
        time.sleep(0.05)


class Three:
    """The source of the jobs."""

    def __init__(self, ledger: Ledger):
        self.ledger = ledger
        self.told: dict[int, Outcome] = {}

    def unfinished(self) -> list[Job]:
        return []

    def next(self) -> Job | Signal:
        if self.ledger.next_number == len(SHARES):
            return Signal.DONE
        genome = load_genome("lavit_digits")
        return self.ledger.add(genome, seed=0, hash=genome.hash, parameters={})

    def tell(self, job: Job, outcome: Outcome) -> None:
        self.told[job.number] = outcome


def crowded(place: Place) -> Found:
    """Three trials, two at once; the second one runs out of memory and is rerun."""
    free = None
    if not place.rehearsal:
        free, _ = torch.cuda.mem_get_info()
        if free < LEAST:
            raise Skipped(f"{free / 2**30:.1f} GiB of the GPU are free, and {LEAST / 2**30:.0f} are needed")
    work = Crowd(trainjob(place), place.folder, free)
    ledger = Ledger(place.folder / "run")
    source = Three(ledger)
    with rays_books(place) as pool, ledger.locked():
        from nas.engine import run  # imports Ray, which reads its token then

        run(source, ledger, work=work, pool=pool)
    attempts = attempts_in(place.folder)
    wrong = judged(source.told, attempts)
    size = f"{SHARES[1]:.0%} of " + ("a number" if free is None else f"{free / 2**30:.1f} GiB")
    text = f"a trial that takes {size} ran out of memory beside another one, and completed alone"
    return Found(text, wrong, {"free_bytes": free, "attempts": attempts})


def attempts_in(folder: Path) -> list[Attempt]:
    """What `Crowd` noted, in the order of their ends."""
    lines = [line.split() for line in (folder / "attempts").read_text().splitlines()]
    return [(int(number), float(begin), float(end)) for number, begin, end in lines]


def judged(told: dict[int, Outcome], attempts: list[Attempt]) -> list[str]:
    """What is wrong."""
    wrong = [
        f"trial {n} is {each.state}: {each.reason}" for n, each in sorted(told.items()) if each.state != "complete"
    ]
    tries = [attempt for attempt in attempts if attempt[0] == 1]
    if len(tries) == 1 and not wrong:
        return ["memory did not run out: both trials had theirs at once; does the driver move memory to the host?"]
    _, begin, end = tries[-1]
    beside = [number for number, other, ended in attempts if number != 1 and other < end and begin < ended]
    if len(tries) > 1 and beside:
        wrong.append(f"trial 1 was not alone the second time, but beside {beside}")
    return wrong


def trainjob(place: Place) -> TrainJob:
    training = Training(epochs=1, limit=128) if place.rehearsal else Training(epochs=3)
    return TrainJob(Task("digits", training), place.device)


@contextmanager
def rays_books(place: Place) -> Iterator[Pool]:
    """Two workers that share a GPU; in a rehearsal a Ray session whose GPU is in its books alone."""
    if not place.rehearsal:
        with session(Workers(gpu=0.5, count=2)) as pool:
            yield pool
        return
    with quiet_ray(), private_folder() as folder, ray_access(folder):
        import ray

        ray.init("local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=f"{folder}/r")
        try:
            with session(Workers(gpu=0.5, count=2)) as pool:
                yield pool
        finally:
            ray.shutdown()
