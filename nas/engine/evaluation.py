"""Accuracy of finished trials on the test split, evaluated once each, in the workers.

    trials/0007/test.json    accuracy, test_images

Trials that have the file are skipped, so an interrupted evaluation resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nas.engine.events import Event, OnEvent
from nas.engine.job import Job
from nas.engine.ledger import Ledger
from nas.engine.pool import Pool
from nas.engine.storage import Storage
from nas.engine.worker import StorageError, workplace
from nas.errors import RunError
from nas.files import read_json_mapping, write_json
from nas.plugins import Plugin, install, shipment

if TYPE_CHECKING:
    from nas.train import Task

FILE = "test.json"


def test_in_workers(ledger: Ledger, jobs: Iterable[Job], task: Task, pool: Pool, on_event: OnEvent) -> None:
    """Write test.json into the directories of finished trials. Call inside `session(...)`.

    Raises RunError if a worker cannot read or write the trial's directory. Other errors of a worker propagate.
    """
    import ray

    waiting = [job for job in jobs if not (job.directory / FILE).exists()]
    if waiting:
        text = f"reading the test split, for {len(waiting)} trained models"
        on_event(Event("message", data={"text": text}))
    evaluate = ray.remote(num_cpus=pool.cpu, num_gpus=pool.gpu)(_evaluate)
    plugins = ray.put(shipment())
    running: dict[ray.ObjectRef[str | None], Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < pool.slots:
                job = waiting.pop(0)
                where = (ledger.folder, ledger.storage, job.id)
                running[evaluate.remote(plugins, *where, task, pool.device, pool.cpu)] = job
            (done,), _ = ray.wait(list(running))
            job = running.pop(done)
            problem = ray.get(done)
            if problem is not None:
                raise RunError(problem, file=ledger.directory)
            ledger.fetch(job)
    finally:
        for left in running:
            ray.cancel(left, force=True)


def _evaluate(
    plugins: list[Plugin],
    folder: Path,
    storage: Storage | None,
    trial: str,
    task: Task,
    device: str,
    threads: int,
) -> str | None:
    """Runs in a worker. Returns the problem, if any: a plug-in is missing, or the storage cannot be used."""
    import torch

    from nas.engine.training import images_of
    from nas.model import build
    from nas.train import evaluate

    torch.set_num_threads(threads)
    try:
        install(plugins)
        with workplace(folder, storage, trial) as (directory, keep):
            model = build(directory / "genome.yaml", weights=True).to(device)
            test = images_of(task, model.genome.image.size).test
            accuracy = evaluate(model, test, device=device)
            write_json(directory / FILE, {"accuracy": accuracy, "test_images": len(test)})
            keep(False)
    except (StorageError, RunError) as error:
        return str(error)
    return None


def read_test(directory: Path) -> dict[str, float]:
    """The content of test.json; empty if the trial has not been evaluated."""
    return read_json_mapping(directory / FILE)
