from __future__ import annotations

import errno
import fcntl
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from nas.data.registry import SOURCES
from nas.engine import Job, Ledger, Outcome, worker
from nas.engine.training import TrainJob
from nas.engine.worker import CrowdedError, Report, StorageError, run_job
from nas.errors import DataError
from nas.genome import load_genome
from nas.plugins import load_plugins
from nas.registry import Registry
from nas.train import Task, Training
from nas.train.checkpoint import TRANSIENT
from tests.engine import works


def job_in(path: Path, behaviour: str = "") -> Job:
    genome = load_genome("lavit_digits")
    costs = {"macs": 7, "params": 8}
    return Ledger(path).add(genome, seed=1, hash=genome.hash, parameters={"behaviour": behaviour}, costs=costs)


def silent(row: dict) -> None: ...


def test_a_finished_job_is_written_down(tmp_path: Path) -> None:
    job, rows = job_in(tmp_path), []
    outcome = run_job(job, works.succeed, rows.append)
    assert (outcome.state, outcome.costs, outcome.reason) == ("complete", {"macs": 7, "params": 8}, None)
    assert Outcome.read(job.directory) == outcome
    assert [row["epoch"] for row in rows] == [1]


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("raise", "ValueError: this genome raises"),
        ("diverge", "training diverged: loss or gradient is not finite in epoch 2 (step 17)"),
        ("exhaust", "out of memory: CUDA out of memory. Tried to allocate 2 GiB"),
    ],
)
def test_whatever_a_training_raises_is_an_outcome(tmp_path: Path, behaviour: str, reason: str) -> None:
    job = job_in(tmp_path, behaviour)
    for name in TRANSIENT:
        (job.directory / name).touch()
    outcome = run_job(job, works.behave, silent)
    assert (outcome.state, outcome.reason, outcome.accuracy) == ("failed", reason, None)
    assert json.loads((job.directory / "result.json").read_text())["reason"] == reason
    assert "Traceback" in (job.directory / "failure.txt").read_text()
    assert not any((job.directory / name).exists() for name in TRANSIENT)


class Mute(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise ValueError("no message for you")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("cannot read \udcff.bin"), r"ValueError: cannot read \udcff.bin"),
        (Mute(), "Mute: its own message cannot be made"),
    ],
)
def test_an_error_that_says_nothing_readable_is_an_outcome(tmp_path: Path, error: Exception, reason: str) -> None:
    def fail(job: Job, report: Report) -> dict[str, Any]:
        raise error

    job = job_in(tmp_path)
    assert run_job(job, fail, silent).reason == reason
    ended = Outcome.read(job.directory)
    assert ended is not None and ended.reason == reason
    assert "Traceback" in (job.directory / "failure.txt").read_text()


@pytest.mark.parametrize(
    ("left", "reason"), [("sys.exit(0)", "SystemExit: 0"), ("sys.exit()", "SystemExit: no message")]
)
def test_a_training_that_a_plug_in_leaves_is_an_outcome(tmp_path: Path, left: str, reason: str) -> None:
    """Ray would take it for the end of the trial, of which the driver would never hear."""
    source = tmp_path / "odd.py"
    source.write_text(
        f"import sys\nfrom nas.data.registry import source\n@source('odd')\ndef read(name):\n    {left}\n"
    )
    load_plugins(source)
    try:
        outcome = run_job(job_in(tmp_path / "run"), lambda job, report: SOURCES["odd"].read("odd"), silent)
    finally:
        Registry.forget(sys.modules.pop("nas_plugin_odd").__name__)
    assert (outcome.state, outcome.reason) == ("failed", reason)


def test_an_interrupt_that_code_raises_by_itself_is_an_outcome(tmp_path: Path) -> None:
    """Signals come to the main thread, and Tune's trials have others, whose silent end nobody would notice."""
    source = tmp_path / "odd.py"
    source.write_text(
        "from nas.data.registry import source\n@source('odd')\ndef read(name):\n    raise KeyboardInterrupt\n"
    )
    load_plugins(source)

    def work(job: Job, report: Report) -> dict[str, Any]:
        return SOURCES["odd"].read("odd")  # type: ignore[return-value]

    try:
        with pytest.raises(KeyboardInterrupt):
            run_job(job_in(tmp_path / "main"), work, silent)
        with ThreadPoolExecutor() as threads:
            outcome = threads.submit(run_job, job_in(tmp_path / "run"), work, silent).result()
    finally:
        Registry.forget(sys.modules.pop("nas_plugin_odd").__name__)
    assert (outcome.state, outcome.reason) == ("failed", "KeyboardInterrupt: no message")


def test_what_ends_a_training_from_outside_is_no_outcome(tmp_path: Path) -> None:
    """Ray stops a trial by SystemExit, raised in the report."""
    job = job_in(tmp_path)
    with pytest.raises(SystemExit):
        run_job(job, lambda job, report: sys.exit(0), silent)
    assert Outcome.read(job.directory) is None


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        PermissionError(errno.EACCES, "Permission denied"),
        RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 128 vs 0"),  # torch.save, disk full
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_nobodys_outcome(tmp_path: Path, error: Exception) -> None:
    def fail(job: Job, report: Report) -> dict[str, Any]:
        raise error

    job = job_in(tmp_path)
    with pytest.raises(StorageError, match=r"cannot be written: "):
        run_job(job, fail, silent)
    assert Outcome.read(job.directory) is None


def test_images_that_cannot_be_read_are_nobodys_outcome(tmp_path: Path) -> None:
    def fail(job: Job, report: Report) -> dict[str, Any]:
        raise DataError("damaged: cannot identify image file", file="photos/a/3.png")

    job = job_in(tmp_path)
    with pytest.raises(StorageError, match=r"the images cannot be read: photos/a/3.png: damaged"):
        run_job(job, fail, silent)
    assert Outcome.read(job.directory) is None


@pytest.mark.parametrize(
    "error",
    [
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_out_of_memory_beside_neighbours_is_not_an_outcome_yet(tmp_path: Path, error: Exception) -> None:
    def fail(job: Job, report: Report) -> dict[str, Any]:
        raise error

    job = job_in(tmp_path)
    (job.directory / "checkpoint.pt").touch()
    with pytest.raises(CrowdedError, match=r"^out of memory: CUDA"):
        run_job(job, fail, silent, neighbours=True)
    assert {path.name for path in job.directory.iterdir()} == {"trial.json", "genome.yaml", "checkpoint.pt"}
    assert str(run_job(job, fail, silent).reason).startswith("out of memory: ")


def test_other_failures_beside_neighbours_are(tmp_path: Path) -> None:
    assert run_job(job_in(tmp_path, "raise"), works.behave, silent, neighbours=True).state == "failed"


def test_a_trial_that_another_process_holds_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = job_in(tmp_path)
    with (job.directory / "trial.json").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        threading.Timer(0.3, file.close).start()
        assert run_job(job, works.succeed, silent).state == "complete"

    other = job_in(tmp_path)
    monkeypatch.setattr(worker, "RELEASE_SECONDS", 0.3)
    with (other.directory / "trial.json").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match=r"0001 is still held by a worker .*; end it \(lsof .*trial.json\)"):
            run_job(other, works.succeed, silent)
    assert Outcome.read(other.directory) is None


def test_what_a_kill_in_the_middle_of_a_write_left_is_removed(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    (job.directory / ".result.json.x3f.tmp").touch()
    run_job(job, works.succeed, silent)
    assert list(job.directory.glob(".*")) == []


def test_a_job_that_has_ended_is_not_done_again(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    first = run_job(job, works.succeed, silent)
    assert run_job(job, works.behave, silent) == first


def test_training_leaves_what_the_trial_directory_promises(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    outcome = run_job(job, TrainJob(Task("digits", Training(epochs=1, limit=200))), silent)
    assert outcome.state == "complete", outcome.reason
    assert outcome.epochs == 1
    assert 0 <= outcome.accuracy <= 1  # type: ignore[operator]
    names = {path.name for path in job.directory.iterdir()}
    assert names == {"trial.json", "genome.yaml", "metrics.csv", "weights.safetensors", "result.json"}
