"""Accuracy of finished trials on the test split, evaluated once each, in the workers.

    trials/0007/test.json    accuracy, test_images, hash, seed, weights_sha256, confusion (nas/train/confusion.py)

Trials that have the file are skipped, so an interrupted evaluation resumes where it stopped. A worker that dies or
makes no progress is replaced, and its trial tried once more (nas/engine/actors.py). If that fails too, the trial is
left without the file, and the run ends without its test accuracy rather than not at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from nas.engine.actors import RETRIES, Actors, Call
from nas.engine.digests import check_weights, differ, weights_digest
from nas.engine.events import Event, OnEvent
from nas.engine.job import Count, Fraction, Job
from nas.engine.ledger import Ledger
from nas.engine.limits import Limits
from nas.engine.pool import Pool
from nas.engine.reading import AGAIN, Cell, read_json
from nas.engine.storage import Storage
from nas.engine.worker import StorageError, workplace
from nas.errors import RunError
from nas.files import write_sealed

if TYPE_CHECKING:
    from nas.train import Task

FILE = "test.json"


def test_in_workers(
    ledger: Ledger, jobs: Iterable[Job], task: Task, pool: Pool, limits: Limits, on_event: OnEvent
) -> None:
    """Write test.json into the directories of finished trials. Call inside `session(...)`.

    Raises RunError if a worker cannot read or write the trial's directory. Other errors of a worker propagate.
    """
    waiting = [job for job in jobs if not (job.directory / FILE).exists()]
    if not waiting:
        return

    def say(text: str) -> None:
        on_event(Event("message", data={"text": text}))

    def done(number: int, problem: str | None) -> None:
        if problem is not None:
            raise RunError(problem, file=ledger.directory)
        ledger.fetch(waiting[number])

    def lost(number: int, reasons: list[str]) -> None:
        trial, again = waiting[number].id, len(reasons) <= RETRIES
        stays = "its test accuracy stays empty, until the same command is run again"
        then = "it is tried once more" if again else stays
        text = f"trial {trial}, reading the test split: {reasons[-1]}; {then}"
        on_event(Event("message", trial, {"text": text}))

    say(f"reading the test split, for {len(waiting)} trained models")
    common = _Common(ledger.folder, ledger.storage, task, pool.device, pool.cpu)
    with Actors(common, pool, limits, say) as actors:
        actors.run([Call(_evaluate, (job.id,), job.directory) for job in waiting], done, lost)


@dataclass(frozen=True)
class _Common:
    """What every evaluation needs."""

    folder: Path
    storage: Storage | None
    task: Task
    device: str
    threads: int


def _evaluate(common: _Common, trial: str) -> str | None:
    """The worker's part. Returns the problem, if any: weights are others, or the storage cannot be used."""
    import torch

    from nas.engine.training import images_of
    from nas.model import build
    from nas.train.confusion import confusion
    from nas.train.evaluation import accuracy_of, predicted

    torch.set_num_threads(common.threads)
    try:
        with workplace(common.folder, common.storage, trial) as (directory, keep):
            check_weights(directory)
            model = build(directory / "genome.yaml", weights=True).to(common.device)
            test = images_of(common.task, model.genome.image.size).test
            answers_N = predicted(model, test, device=common.device)
            job = Job.read(directory)
            found: dict[str, Any] = {"accuracy": accuracy_of(answers_N, test), "test_images": len(test)}
            found |= {"hash": job.hash, "seed": job.seed, "weights_sha256": weights_digest(directory)}
            write_sealed(directory / FILE, found | {"confusion": confusion(answers_N, test.labels_N)})
            keep(False)
    except (StorageError, RunError) as error:
        return str(error)
    return None


def read_test(directory: Path) -> dict[str, float]:
    """Accuracy and number of images in test.json; empty if the trial has not been evaluated. Raises RunError."""
    found = _read(directory)
    return {"accuracy": found["accuracy"], "test_images": found["test_images"]} if found is not None else {}


def read_confusion(directory: Path) -> list[Cell] | None:
    """The cells of the confusion matrix in test.json; None if there are none: earlier versions wrote accuracy alone.

    Raises RunError.
    """
    found = _read(directory)
    return found.get("confusion") if found is not None else None


class _Test(TypedDict):
    hash: NotRequired[str]  # with the seed, of the trial that it is about; earlier versions did not say
    seed: NotRequired[Count]
    weights_sha256: NotRequired[str | None]  # one genome may be trained with one seed in two runs
    accuracy: Fraction
    test_images: Annotated[int, Field(ge=1)]
    confusion: NotRequired[list[Cell]]


def _read(directory: Path) -> _Test | None:
    found = read_json(directory / FILE, _Test)
    if found is not None and "hash" in found and "seed" in found:
        job = Job.read(directory)
        if (found["hash"], found["seed"]) != (job.hash, job.seed):
            raise RunError(f"it is about another trial; {AGAIN}", file=directory / FILE)
        if differ(found.get("weights_sha256"), weights_digest(directory)):
            raise RunError(f"it is about other weights than the trial's; {AGAIN}", file=directory / FILE)
    if found is not None and "confusion" in found:
        cells = found["confusion"]
        images = sum(count for _, _, count in cells)
        right = sum(count for label, answer, count in cells if label == answer)
        if images != found["test_images"] or not math.isclose(right / images, found["accuracy"], abs_tol=1e-6):
            counted = f"its accuracy is {found['accuracy']}, and its confusion matrix has {right} of {images}"
            raise RunError(f"damaged ({counted}); {AGAIN}", file=directory / FILE)
    return found
