"""Data on its way to workers: real Ray, a real (small) training."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nas.data import load
from nas.engine import Job, Ledger, Pool, run
from nas.engine.training import TrainJob
from nas.engine.worker import Report
from nas.errors import DataError, RunError
from nas.genome import load_genome
from nas.train import Task, Training
from tests.data.conftest import write_folder  # noqa: F401  (a fixture)
from tests.engine.test_ray_tune import Listed

TRAINING = Training(epochs=1, batch_size=8)


@dataclass(frozen=True)
class Counting(TrainJob):
    """Notes in `folder` every image that a process decodes, and every process that trains."""

    folder: Path = Path()

    def __call__(self, job: Job, report: Report) -> dict[str, Any]:
        os.environ["XDG_CACHE_HOME"] = str(self.folder / "cache")
        note(self.folder)
        (self.folder / f"process-{os.getpid()}").touch()
        while len(list(self.folder.glob("process-*"))) < 2:  # both workers take part, however slowly the other starts
            time.sleep(0.05)
        return super().__call__(job, report)


def note(folder: Path) -> None:
    from nas.data import encoded

    original = encoded.decode

    def counted(blob: bytes, channels: int, max_pixels: int) -> Any:
        with (folder / "decoded").open("a") as file:
            file.write(f"{os.getpid()}\n")
        return original(blob, channels, max_pixels)

    if original.__name__ != "counted":
        encoded.decode = counted  # type: ignore[assignment]


@pytest.mark.parametrize("limit", [40])
def test_a_machine_decodes_once_for_all_workers_and_trials(
    tmp_path: Path,
    pool: Pool,
    monkeypatch: pytest.MonkeyPatch,
    write_folder: Callable[..., Path],  # noqa: F811
    limit: int | None,
) -> None:
    from nas.data import encoded

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(encoded, "decode", encoded.decode)  # restored at the end
    write_folder(tmp_path / "images" / "train", {"a": 50, "b": 50}, channels=1)
    source = f"imagefolder:{tmp_path / 'images'}"
    training = TRAINING.model_copy(update={"limit": limit})
    note(tmp_path)
    images = load(source, size=8, validation=training.validation, seed=0, limit=limit)  # as searches do, first of all
    here = (tmp_path / "decoded").read_text().split()
    assert len(here) == (limit or 100)

    genome = load_genome("lavit_digits").edit({"classes": len(images.classes)})
    ledger = Ledger(tmp_path / "run")
    source_of_jobs = Listed(ledger, [{}] * 4, genome)
    with ledger.locked():
        run(source_of_jobs, ledger, work=Counting(Task(source, training), folder=tmp_path), pool=pool)
    assert [outcome.state for outcome in source_of_jobs.told.values()] == ["complete"] * 4, source_of_jobs.told
    assert len(list(tmp_path.glob("process-*"))) == 2
    assert (tmp_path / "decoded").read_text().split() == here, "a worker decoded again"


def test_workers_train_on_the_images_of_the_driver_or_not_at_all(
    tmp_path: Path,
    pool: Pool,
    write_folder: Callable[..., Path],  # noqa: F811
) -> None:
    """Another machine may have another folder of this name. Its trial is nobody's failure, and waits."""
    write_folder(tmp_path / "images" / "train", {"a": 50, "b": 50}, channels=1)
    task = Task(f"imagefolder:{tmp_path / 'images'}", TRAINING, image_size=8)
    task = task.held_to(task.load())
    with (tmp_path / "images" / "train" / "a" / "007.png").open("ab") as file:
        file.write(b"\0")

    ledger = Ledger(tmp_path / "run")
    source_of_jobs = Listed(ledger, [{}], load_genome("lavit_digits").edit({"classes": 2}))
    with pytest.raises(RunError, match=r"its images on \S+ are not those that the run was begun with"), ledger.locked():
        run(source_of_jobs, ledger, work=TrainJob(task), pool=pool)
    assert [job.id for job in Ledger(tmp_path / "run").unfinished] == ["0000"]


def test_files_that_are_exchanged_while_they_are_read_make_no_result(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write_folder: Callable[..., Path],  # noqa: F811
) -> None:
    monkeypatch.setitem(load.__kwdefaults__, "resident_bytes", 100)
    folder = write_folder(tmp_path / "images", {"a": 50, "b": 50}, channels=1)
    work = TrainJob(Task(f"imagefolder:{folder}", TRAINING, image_size=8))
    genome = load_genome("lavit_digits").edit({"classes": 2})
    job = Ledger(tmp_path / "run").add(genome, seed=1, hash=genome.hash, parameters={}, costs={"macs": 7, "params": 8})
    original = (folder / "a" / "000.png").read_bytes()

    def exchange(row: dict[str, Any] | None) -> None:
        (folder / "a" / "000.png").write_bytes(original + b"\0")

    with pytest.raises(DataError, match="its files have been exchanged while they were in use; restore them"):
        work(job, exchange)
    assert sorted(path.name for path in job.directory.iterdir()) == ["genome.yaml", "trial.json"]
    with pytest.raises(DataError, match="exchanged"):
        work(job, print)
    (folder / "a" / "000.png").write_bytes(original)
    assert work(job, print)["state"] == "complete"
