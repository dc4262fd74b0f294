"""The `Work` of searches and ablations: train a job's genome, on data that the worker process keeps.

Data is loaded once a process and not once a trial; a process serves many trials of one run. What is loaded is mapped
from decoded files (nas/data/cache.py), which a client's own `load` has made before the first worker starts: a machine
decodes once, and holds one copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nas.data import ImageSet, load
from nas.engine.job import Job
from nas.engine.worker import Report
from nas.train import Training, train


@dataclass(frozen=True)
class TrainJob:
    """Train on the dataset `source` (as for `nas.data.load`, paths absolute).

    seed: the run's, for the validation split: all trials select on the same images. threads: of torch on the CPU.

    >>> run(candidates, ledger, work=TrainJob("digits", Training(epochs=3), seed=0), pool=pool)
    """

    source: str
    training: Training
    seed: int
    device: str = "cpu"
    threads: int = 1

    def __call__(self, job: Job, report: Report) -> dict[str, Any]:
        genome, training = job.genome, self.training
        images = _images(self.source, genome.image.size, training.validation, self.seed, training.limit)
        result = train(
            genome,
            images,
            training,
            directory=job.directory,
            seed=job.seed,
            device=self.device,
            threads=self.threads,
            report=report,
            until=job.until,
        )
        state = "complete" if result.epochs == training.epochs else "paused"
        return {"state": state, "accuracy": result.accuracy, "epochs": result.epochs, "seconds": result.seconds}


@lru_cache(maxsize=2)
def _images(source: str, size: int, validation: float, seed: int, limit: int | None) -> ImageSet:
    return load(source, size=size, validation=validation, seed=seed, limit=limit)
