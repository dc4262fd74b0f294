"""Estimates the duration of a search: trains some of its genomes for a few steps and extrapolates.

Each genome runs through the real training loop on some of the real images, on a worker's device and with its number of
threads, for two short epochs. The first one is a warm-up. The second gives seconds per training image and per
validation image. The remaining time of the call (building, files, warm-up or compilation) counts once per trial.
Only one process is timed: several share memory and caches and are slower, as is a busy machine. The processes of one
trial are taken to share its images without a loss. Of a large genome, fewer images are shown, as many as fit into some
seconds.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nas.data import ImageSet, Split
from nas.device import torch_threads
from nas.engine import Workers, pool_on
from nas.genome import Genome
from nas.hardware import hardware
from nas.model import build
from nas.search.schedulers import make_scheduler
from nas.search.spec import SearchSpec
from nas.train import Training

STEPS = 4  # of each of the two short epochs
IMAGES = 256  # at most, for the evaluation
BUDGET = 8.0  # seconds after which no further genome is timed
PACE = 6.0  # seconds in which a genome should have done its two short epochs: a large one is shown fewer images
LIMIT = 45.0  # seconds after which one genome has to do
LEAST = 2  # genomes timed regardless of duration; one with compilation
START = 12.0  # seconds until Ray is up and its workers have imported torch
WINNERS = 8  # assumed number of genomes on the front
BATCH, SLOW = 8, 0.05  # images of the batch that says how large a genome is; seconds from which one image has to do
STOPWATCH = 1.5  # seconds to measure a winner's throughput


@dataclass(frozen=True)
class Forecast:
    """Seconds of a whole search with `slots` workers, and their components.

    trials: seconds of one training of the scheduler's mean epochs, for each genome timed, in the order given.
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


def forecast(
    spec: SearchSpec,
    genomes: Sequence[Genome],
    images: ImageSet,
    *,
    loading: float,
    say: Callable[[str], None] = lambda text: None,
) -> Forecast:
    """Time `genomes` for some seconds, at least the first. loading: seconds that reading the data takes.

    >>> forecast(spec, [space.base], images, loading=0.1).seconds
    """
    device = spec.workers.device
    begin, failure = time.perf_counter(), None
    timed: list[_Pace] = []
    least = 1 if spec.training.compile else LEAST
    for genome in genomes:
        spent = time.perf_counter() - begin
        if (len(timed) >= least and spent > BUDGET) or (timed and spent > LIMIT):
            break
        say(f"timing a few training steps of genome {len(timed) + 1} (of {least} to {len(genomes)})")
        try:
            timed.append(_Pace.of(genome, spec, images, device))
        except RuntimeError as error:  # out of memory, or a loss that is not finite from the start
            failure = str(error).partition("\n")[0]
            break
    epochs = make_scheduler(spec.scheduler, spec.training.epochs).mean_epochs()
    train_images, validation_images = (len(split) / spec.workers.ranks for split in (images.train, images.validation))
    trials = [pace.seconds(epochs, train_images, validation_images) for pace in timed]
    evaluation = statistics.mean(pace.evaluation for pace in timed) if timed else 0.0  # per image
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
    """Seconds per training image, per evaluated image, and once per trial."""

    training: float
    evaluation: float
    once: float

    @classmethod
    def of(cls, genome: Genome, spec: SearchSpec, images: ImageSet, device: str) -> _Pace:
        from nas.train import train  # before the stopwatch, since it imports timm

        batch = spec.training.batch_size
        affordable = PACE / seconds_per_image(genome, device)  # forward passes; a training step costs three of them
        learned = max(4, min(STEPS * batch, int(affordable / 12)))
        batch = min(batch, max(2, learned // STEPS))
        training = spec.training.model_copy(update={"epochs": 2, "batch_size": batch})
        few = replace(
            images,
            train=images.train.only(slice(learned)),
            validation=images.validation.only(slice(max(1, min(IMAGES, int(affordable / 4))))),
        )
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, torch_threads():
            result = train(
                genome, few, training, directory=Path(folder), seed=spec.seed, device=device,
                threads=min(spec.workers.cpu, os.cpu_count() or 1), donor=spec.donor_for(images),
            )  # fmt: skip
        took = time.perf_counter() - begin
        row = result.metrics[-1]
        shown = _shown(few.train, training)
        learning = shown / row["images_per_second_training"]
        return cls(
            training=learning / shown,
            evaluation=(row["seconds"] - learning) / len(few.validation),
            once=max(0.0, took - 2 * row["seconds"]),
        )

    def seconds(self, epochs: float, train: float, validation: float) -> float:
        return self.once + epochs * (self.training * train + self.evaluation * validation)


def seconds_per_image(genome: Genome, device: str) -> float:
    """Seconds of a forward pass, per image of a small batch; of a single image where that takes long already."""
    model, image = build(genome).eval().to(device), genome.image
    seconds = 0.0
    with torch.inference_mode():
        for count in (1, 1, BATCH):  # the first is a warm-up
            if count == 1 or seconds < SLOW:
                images_BCHW = torch.zeros(count, image.channels, image.size, image.size, device=device)
                begin = time.perf_counter()
                model(images_BCHW).sum().item()
                seconds = (time.perf_counter() - begin) / count
    return seconds


def _shown(split: Split, training: Training) -> int:
    """Images per epoch; an incomplete last batch is dropped."""
    return min(len(split), split.batch_count(training.batch_size, drop_last=True) * training.batch_size)


def _slots(workers: Workers) -> int:
    """The number of workers that fit on this machine, at least 1."""
    found = hardware()
    return max(1, pool_on(workers, [{"CPU": found["cores"], "GPU": len(found["gpus"])}]).slots)
