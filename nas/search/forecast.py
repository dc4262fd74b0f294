"""How long a search will take: some of its genomes are trained for a few steps, and what a step costs is multiplied.

Each genome goes through the real training loop on some of the real images, on the device that a worker would have and
with its number of threads: two short epochs, the first of which warms up. From the second come seconds per training
image and per validation image; what the call took beyond its epochs (building, files, warm-up or compilation) is paid
once a trial. One worker is timed, alone: several share memory and caches, and a busy machine is slower.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nas.data import ImageSet, Split
from nas.engine import Workers
from nas.genome import Genome
from nas.hardware import hardware
from nas.search.schedulers import make_scheduler
from nas.search.spec import SearchSpec
from nas.train import Training, train

STEPS = 4  # of each of the two short epochs
IMAGES = 256  # for the evaluation, at most
BUDGET = 8.0  # seconds after which no further genome is timed
LEAST = 2  # genomes that are timed whatever they take; with compilation one
START = 12.0  # seconds until Ray is up and its workers have imported torch
WINNERS = 8  # genomes on a front, as a guess
STOPWATCH = 1.5  # seconds to measure a winner's throughput


@dataclass(frozen=True)
class Forecast:
    """Seconds of a whole search with `slots` workers, and what they are made of.

    trials: seconds of one training for each genome that was timed, in the order given; of the scheduler's mean epochs.
    """

    trials: list[float]
    trainings: int
    slots: int
    start: float
    winners: float
    device: str
    failure: str | None = None  # why timing stopped, if it did

    @property
    def seconds(self) -> float:
        return self.start + self.trainings / self.slots * statistics.mean(self.trials) + self.winners


def forecast(spec: SearchSpec, genomes: Sequence[Genome], images: ImageSet, *, loading: float) -> Forecast:
    """Time `genomes` for some seconds, the first of them at least. loading: seconds that reading the data takes.

    >>> forecast(spec, [space.base], images, loading=0.1).seconds
    """
    device = spec.workers.device
    begin, failure = time.perf_counter(), None
    timed: list[_Pace] = []
    least = 1 if spec.training.compile else LEAST
    for genome in genomes:
        if len(timed) >= least and time.perf_counter() - begin > BUDGET:
            break
        try:
            timed.append(_Pace.of(genome, spec, images, device))
        except RuntimeError as error:  # out of memory, or a loss that is not finite at once
            failure = str(error).partition("\n")[0]
            break
    epochs = make_scheduler(spec.scheduler, spec.training.epochs).mean_epochs()
    trials = [pace.seconds(epochs, len(images.train), len(images.validation)) for pace in timed]
    evaluation = statistics.mean(pace.evaluation for pace in timed) if timed else 0.0  # of an image
    return Forecast(
        trials,
        trainings=spec.trials * spec.repeat * (2 if spec.baseline else 1),
        slots=_slots(spec.workers),
        start=START + loading,
        winners=WINNERS * (STOPWATCH + evaluation * len(images.test)),
        device=device,
        failure=failure,
    )


@dataclass(frozen=True)
class _Pace:
    """Seconds per image in training and in evaluation, and once a trial."""

    training: float
    evaluation: float
    once: float

    @classmethod
    def of(cls, genome: Genome, spec: SearchSpec, images: ImageSet, device: str) -> _Pace:
        training = spec.training.model_copy(update={"epochs": 2})
        few = replace(
            images,
            train=_some(images.train, STEPS * training.batch_size),
            validation=_some(images.validation, IMAGES),
        )
        threads = torch.get_num_threads()
        begin = time.perf_counter()
        try:
            with tempfile.TemporaryDirectory() as folder:
                result = train(
                    genome, few, training, directory=Path(folder), seed=spec.seed, device=device,
                    threads=spec.workers.cpu,
                )  # fmt: skip
        finally:
            torch.set_num_threads(threads)
        took = time.perf_counter() - begin
        row = result.metrics[-1]
        shown = _shown(few.train, training)
        learning = shown / row["images_per_second_training"]
        return cls(
            training=learning / shown,
            evaluation=(row["seconds"] - learning) / len(few.validation),
            once=max(0.0, took - 2 * row["seconds"]),
        )

    def seconds(self, epochs: float, train: int, validation: int) -> float:
        return self.once + epochs * (self.training * train + self.evaluation * validation)


def _some(split: Split, count: int) -> Split:
    return type(split)(replace(split.subset, indices=split.subset.indices[:count]), split.preprocessing)


def _shown(split: Split, training: Training) -> int:
    """Images of an epoch: an incomplete last batch is left out."""
    return min(len(split), split.batch_count(training.batch_size, drop_last=True) * training.batch_size)


def _slots(workers: Workers) -> int:
    """Workers that fit on this machine at once, 1 at least."""
    found = hardware()
    slots = int(found["cores"]) // workers.cpu
    gpu = (1.0 if found["gpus"] else 0.0) if workers.gpu is None else workers.gpu
    if gpu:
        slots = min(slots, int(len(found["gpus"]) / gpu + 1e-6))
    return max(1, min(slots, workers.count or slots))
