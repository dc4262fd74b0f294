"""Accuracy of finished trials on the test split, evaluated once each, in the workers.

    trials/0007/test.json    accuracy, test_images, hash, seed, weights_sha256, confusion (nas/train/confusion.py)

Trials that have the file are skipped, so an interrupted evaluation resumes where it stopped. A worker that dies or
makes no progress (nas/engine/limits.py) is replaced, and its trial tried once more. If that fails too, the trial is
left without the file, and the run ends without its test accuracy rather than not at all.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from nas.engine.digests import check_weights, differ, weights_digest
from nas.engine.events import Event, OnEvent
from nas.engine.job import Count, Fraction, Job
from nas.engine.ledger import Ledger
from nas.engine.limits import Limits, Watch
from nas.engine.parcel import Parcel
from nas.engine.pool import Pool
from nas.engine.reading import AGAIN, Cell, read_json
from nas.engine.storage import Storage
from nas.engine.worker import StorageError, workplace
from nas.errors import RunError
from nas.files import write_sealed
from nas.heartbeat import heard_by

if TYPE_CHECKING:
    from nas.train import Task

FILE = "test.json"
RETRIES = 1
ROUND = 0.2  # seconds after which the driver looks after the workers
PATIENCE = 60.0  # seconds without any worker after which that is said


def test_in_workers(
    ledger: Ledger, jobs: Iterable[Job], task: Task, pool: Pool, limits: Limits, on_event: OnEvent
) -> None:
    """Write test.json into the directories of finished trials. Call inside `session(...)`.

    Raises RunError if a worker cannot read or write the trial's directory. Other errors of a worker propagate.
    """
    waiting = deque(job for job in jobs if not (job.directory / FILE).exists())
    if waiting:
        text = f"reading the test split, for {len(waiting)} trained models"
        on_event(Event("message", data={"text": text}))
        _Evaluation(ledger, waiting, task, pool, limits, on_event).run()


@dataclass
class _Reading:
    """A trial that a worker evaluates. done, answer: of its calls `evaluate` and `beats`."""

    job: Job
    worker: Any
    done: Any
    answer: Any
    beats: int = 0  # as of the last answer


class _Evaluation:
    """The driver's side.

    A trial goes to a worker that has started, never to one that waits for a place: the machines may hold fewer workers
    than they did when the run began, and Ray lets the others wait for as long as idle ones keep their cores. While none
    has a place, that is said once.
    """

    def __init__(self, ledger: Ledger, waiting: deque[Job], task: Task, pool: Pool, limits: Limits, on_event: OnEvent):
        import ray

        self.ledger, self.waiting, self.pool, self.on_event = ledger, waiting, pool, on_event
        self.watch = Watch(Limits(stalled_seconds=limits.stalled_seconds))
        self.worker: Any = ray.remote(num_cpus=pool.cpu, num_gpus=pool.gpu)(_Worker).options(max_concurrency=2)
        self.task = ray.put(Parcel.of(task))
        self.starting: dict[Any, Any] = {}  # workers, by their first call
        self.idle: list[Any] = []
        self.running: list[_Reading] = []
        self.failures: Counter[str] = Counter()  # by trial
        self.patient_until = time.monotonic() + PATIENCE

    def run(self) -> None:
        import ray

        try:
            while self.waiting or self.running:
                self.hire()
                while self.waiting and self.idle:
                    self.begin(self.waiting.popleft(), self.idle.pop())
                ready, _ = ray.wait([*self.starting, *(reading.done for reading in self.running)], timeout=ROUND)
                if not self.idle and not self.running and not ready:
                    self.say_that_none_starts()
                for first in ready:
                    if first in self.starting:
                        self.started(first)
                for reading in [reading for reading in self.running if reading.done in ready]:
                    self.end(reading)
                for reading in self.running:
                    self.listen(reading)
                stalled = self.watch.exceeding()
                for reading in [reading for reading in self.running if reading.job.id in stalled]:
                    self.fail(reading, stalled[reading.job.id].reason)
        finally:
            for worker in [*self.starting.values(), *self.idle, *(reading.worker for reading in self.running)]:
                ray.kill(worker)

    def hire(self) -> None:
        """Ask for as many workers as there are trials left, at most one for each slot."""
        wanted = min(self.pool.places, len(self.waiting) + len(self.running))
        for _ in range(wanted - len(self.starting) - len(self.idle) - len(self.running)):
            worker = self.worker.remote()
            self.starting[worker.beats.remote()] = worker

    def say_that_none_starts(self) -> None:
        if time.monotonic() > self.patient_until:
            self.patient_until = math.inf
            need = f"{self.pool.cpu} CPU and {self.pool.gpu:g} GPU"
            text = f"no worker of {need} has found a place: other work keeps the machines; waiting for it to end"
            self.on_event(Event("message", data={"text": text}))

    def started(self, first: Any) -> None:
        import ray

        worker = self.starting.pop(first)
        try:
            ray.get(first)
        except ray.exceptions.RayActorError:
            if self.waiting:
                self.again(self.waiting.popleft(), "the worker process did not start")
            return
        self.idle.append(worker)

    def begin(self, job: Job, worker: Any) -> None:
        where = (self.ledger.folder, self.ledger.storage, job.id)
        done = worker.evaluate.remote(*where, self.task, self.pool.device, self.pool.cpu)
        self.running.append(_Reading(job, worker, done, worker.beats.remote()))
        self.watch.begin(job.id, job.directory)

    def end(self, reading: _Reading) -> None:
        import ray

        try:
            problem = ray.get(reading.done)
        except ray.exceptions.RayActorError:
            self.fail(reading, "the worker process died")
            return
        if problem is not None:
            raise RunError(problem, file=self.ledger.directory)
        self.watch.end(reading.job.id)
        self.running.remove(reading)
        self.idle.append(reading.worker)
        self.ledger.fetch(reading.job)

    def listen(self, reading: _Reading) -> None:
        """Tell the watch of new beats. A worker that is stopped, or holds the interpreter's lock, does not answer."""
        import ray

        if not ray.wait([reading.answer], timeout=0)[0]:
            return
        with suppress(ray.exceptions.RayActorError):  # `end` sees that as well
            beats = ray.get(reading.answer)
            if beats != reading.beats:
                self.watch.alive(reading.job.id, 0)
            reading.beats, reading.answer = beats, reading.worker.beats.remote()

    def fail(self, reading: _Reading, reason: str) -> None:
        """The trial's worker is dead or stalled."""
        import ray

        ray.kill(reading.worker)
        self.watch.end(reading.job.id)
        self.running.remove(reading)
        self.again(reading.job, reason)

    def again(self, job: Job, reason: str) -> None:
        """Try the trial once more, or leave it without its accuracy."""
        self.failures[job.id] += 1
        if self.failures[job.id] <= RETRIES:
            self.waiting.append(job)
            then = "it is tried once more"
        else:
            then = "its test accuracy stays empty, until the same command is run again"
        self.on_event(Event("message", job.id, {"text": f"trial {job.id}, reading the test split: {reason}; {then}"}))


class _Worker:
    """A worker process, with two threads: one evaluates while the other one answers."""

    def __init__(self) -> None:
        self._beats = 0

    def beats(self) -> int:
        """Signs of life so far."""
        return self._beats

    def evaluate(
        self,
        folder: Path,
        storage: Storage | None,
        trial: str,
        parcel: Parcel[Task],
        device: str,
        threads: int,
    ) -> str | None:
        """Returns the problem, if any: a plug-in is missing, or the storage cannot be used."""
        import torch

        from nas.engine.training import images_of
        from nas.model import build
        from nas.train.confusion import confusion
        from nas.train.evaluation import accuracy_of, predicted

        torch.set_num_threads(threads)
        try:
            task = parcel.open()
            with workplace(folder, storage, trial) as (directory, keep), heard_by(self._beat):
                check_weights(directory)
                model = build(directory / "genome.yaml", weights=True).to(device)
                test = images_of(task, model.genome.image.size).test
                answers_N = predicted(model, test, device=device)
                job = Job.read(directory)
                found: dict[str, Any] = {"accuracy": accuracy_of(answers_N, test), "test_images": len(test)}
                found |= {"hash": job.hash, "seed": job.seed, "weights_sha256": weights_digest(directory)}
                write_sealed(directory / FILE, found | {"confusion": confusion(answers_N, test.labels_N)})
                keep(False)
        except (StorageError, RunError) as error:
            return str(error)
        return None

    def _beat(self) -> None:
        self._beats += 1


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
