"""The `Work` of searches and ablations: train a job's genome on data that the worker process keeps loaded.

Data is loaded once per process, which runs many trials, not once per trial. It is memory-mapped from decoded files
(nas/data/cache.py), which the client's own `load` has made before the first worker starts: a machine decodes once
and holds one copy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from nas.data import ImageSet
from nas.engine.job import Job
from nas.engine.worker import Report
from nas.model import Donor
from nas.numbers import standard_error
from nas.train import Task, train


@dataclass(frozen=True)
class TrainJob:
    """Train the job's genome on a task. threads: torch's CPU threads. donor: the model whose weights it starts from.

    >>> run.train(searcher, TrainJob(Task("digits", Training(epochs=3))), on_event)
    """

    task: Task
    device: str = "cpu"
    threads: int = 1
    donor: Donor | None = None

    def __call__(self, job: Job, report: Report) -> dict[str, Any]:
        genome, training = job.genome, self.task.training
        images = images_of(self.task, genome.image.size)

        def with_error(found: dict[str, Any]) -> dict[str, Any]:
            if found.get("accuracy") is None:
                return found
            return found | {"accuracy_se": standard_error(found["accuracy"], len(images.validation))}

        result = train(
            genome,
            images,
            training,
            directory=job.directory,
            seed=job.seed,
            donor=self.donor,
            device=self.device,
            threads=self.threads,
            report=lambda row: report(with_error(row)),
            until=job.until,
        )
        state = "complete" if result.epochs == training.epochs else "paused"
        found = {"accuracy": result.accuracy, "epochs": result.epochs, "seconds": result.seconds}
        return {"state": state} | with_error(found)


@lru_cache(maxsize=2)
def images_of(task: Task, size: int) -> ImageSet:
    """The task's images, resized to the genome's image size."""
    return replace(task, image_size=size).load()
