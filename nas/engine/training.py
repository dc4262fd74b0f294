"""The `Work` of searches and ablations: train a job's genome on data that the worker process keeps loaded.

Data is loaded once per process, which runs many trials, not once per trial. It is memory-mapped from decoded files
(nas/data/cache.py), which the client's own `load` has made before the first worker starts: a machine decodes once
and holds one copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from nas.data import ImageSet
from nas.engine.crew import crew
from nas.engine.job import Job
from nas.engine.pool import Pool
from nas.engine.worker import Report
from nas.errors import DataError
from nas.genome import Genome
from nas.model import Donor
from nas.numbers import standard_error
from nas.train import Task
from nas.train.ranks import Ranks

if TYPE_CHECKING:
    from nas.train import Result


@dataclass(frozen=True)
class TrainJob:
    """Train the job's genome on a task.

    threads: torch's CPU threads. processes: of one trial. donor: the model whose weights it starts from. teacher: that
    of the recipe, where it travels with the job.

    >>> run.train(searcher, TrainJob.on(run.pool, Task("digits", Training(epochs=3))), on_event)
    """

    task: Task
    device: str = "cpu"
    threads: int = 1
    processes: int = 1
    donor: Donor | None = None
    teacher: Donor | None = None

    @classmethod
    def on(cls, pool: Pool, task: Task, donor: Donor | None = None, teacher: Donor | None = None) -> TrainJob:
        """For the workers of a pool."""
        return cls(task, pool.device, pool.cpu, pool.processes, donor, teacher)

    def __call__(self, job: Job, report: Report) -> dict[str, Any]:
        genome, training = job.genome, self.task.training
        images = images_of(self.task, genome.image.size)
        count = len(images.validation)
        check_unchanged(images)

        def with_error(found: dict[str, Any]) -> dict[str, Any]:
            if found.get("accuracy") is None:
                return found
            return found | {"accuracy_se": standard_error(found["accuracy"], count)}

        def tell(row: dict[str, Any] | None) -> None:
            report(with_error(row) if row is not None else None)

        alongside = partial(self.train, genome, job)
        with crew(alongside, self.processes, cpu=self.threads, device=self.device) as ranks:
            result = self.train(genome, job, ranks, report=tell)
        try:
            check_unchanged(images)
        except DataError:
            from nas.train.checkpoint import TRANSIENT  # in the worker; the driver does without

            for name in (*TRANSIENT, "metrics.csv", "weights.safetensors"):  # of which images it learned, none can say
                (job.directory / name).unlink(missing_ok=True)
            raise
        state = "complete" if result.epochs == training.epochs else "paused"
        found = {"accuracy": result.accuracy, "epochs": result.epochs, "seconds": result.seconds}
        return {"state": state} | with_error(found)

    def train(self, genome: Genome, job: Job, ranks: Ranks, report: Report | None = None) -> Result:
        """The part of one rank."""
        from nas.train import train  # in the worker; the driver does without

        return train(
            genome,
            images_of(self.task, genome.image.size),
            self.task.training,
            directory=job.directory,
            seed=job.seed,
            donor=self.donor,
            teacher=self.teacher,
            device=self.device,
            threads=self.threads,
            report=report,
            until=job.until,
            ranks=ranks,
        )


def check_unchanged(images: ImageSet) -> None:
    """Raise DataError if files that are read while a trial is trained are no longer those that were loaded."""
    if images.streams and images.digest_now() != images.digest:
        message = "its files have been exchanged while they were in use; restore them, and resume"
        raise DataError(f"{images.name}: {message}")


@lru_cache(maxsize=2)
def images_of(task: Task, size: int) -> ImageSet:
    """The task's images, resized to the genome's image size."""
    return replace(task, image_size=size).load()
