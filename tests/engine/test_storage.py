from __future__ import annotations

import io
import os
import pickle
import shutil
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from pyarrow.fs import FileSystem, FileType, LocalFileSystem, SubTreeFileSystem, _MockFileSystem

from nas.engine import Job, Ledger, Outcome
from nas.engine.record import write_record
from nas.engine.storage import Storage
from nas.engine.worker import StorageError, run_job, workplace
from nas.errors import RunError
from nas.genome import load_genome
from nas.train.checkpoint import TRANSIENT
from tests.engine import works
from tests.engine.cluster import wait_until_gone, workers_of
from tests.engine.drivers import check_exact, drive, go_alone, log

GENOME = load_genome("lavit_digits")
TRIALS = 8


@pytest.fixture(params=["mock", "subtree", "path", "uri"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """One in memory, which stands for those that are not a directory, and three that are."""
    place = tmp_path / "far away"
    if request.param == "path":
        return Storage.of(str(place), Path("results/run"))  # type: ignore[return-value]
    if request.param == "uri":
        return Storage.of(f"file://{tmp_path}/far", Path("results/run"))  # type: ignore[return-value]
    place.mkdir()
    files: FileSystem = (
        _MockFileSystem() if request.param == "mock" else SubTreeFileSystem(str(place), LocalFileSystem())
    )
    made = Storage("given", "run")
    made.__dict__["_opened"] = (files, "base/run")
    return made


def add(ledger: Ledger) -> Job:
    return ledger.add(GENOME, seed=1, hash=GENOME.hash, parameters={}, costs={"macs": 7, "params": 8})


def test_a_folder_goes_there_and_comes_back(tmp_path: Path, storage: Storage) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    here.mkdir()
    (here / "a.bin").write_bytes(b"\0\n" * 3_000_000)
    (here / "result.json").write_text("{}")
    (here / ".hidden").touch()
    seen = {"result.json": (2, (here / "result.json").stat().st_mtime_ns)}
    storage.push(here, "trials/0001", seen)
    assert set(storage.pull("trials/0001", back)) == {"a.bin"}, "what was seen already stays here"
    assert (back / "a.bin").read_bytes() == (here / "a.bin").read_bytes()

    (here / "result.json").write_text('{"more": 1}')
    (here / "a.bin").unlink()
    storage.push(here, "trials/0001", seen, prune=lambda name: True)
    assert set(storage.pull("trials/0001", tmp_path / "again")) == {"result.json"}
    assert storage.pull("trials/0002", tmp_path / "none") == {}
    names = [info.base_name for info in storage._list("", recursive=True) if info.type == FileType.File]
    assert names == ["result.json"], "no temporary files"


def test_a_ledger_is_rebuilt_from_its_storage(tmp_path: Path, storage: Storage) -> None:
    run = tmp_path / "results" / "run"
    ledger = Ledger(run, storage)
    with ledger.locked():
        (run / "run.yaml").write_text("spec: {}")
        (run / "winners").mkdir()
        (run / "winners" / "w1-0000.yaml").write_text("")
        jobs = [add(ledger) for _ in range(3)]
        ledger.finish(jobs[0], Outcome.of(jobs[0], "infeasible", reason="macs"))
        storage.save_files(run)
    shutil.rmtree(run)

    storage.restore_files(run)
    assert (run / "run.yaml").read_text() == "spec: {}"
    again = Ledger(run, storage)
    assert again.trials == []
    with again.locked():
        assert [trial.outcome and trial.outcome.state for trial in again.trials] == ["infeasible", None, None]
        assert again.trials[1].job == jobs[1]
        assert again.trials[1].job.genome == GENOME


def begun(run: Path, storage: Storage, id: str) -> Ledger:
    """A run with a trial that is complete, and its winner."""
    write_record(run, kind="search", seed=0, spec={}, id=id)
    ledger = Ledger(run, storage)
    with ledger.locked():
        job = add(ledger)
        (job.directory / "weights.safetensors").write_text(id)
        ledger.finish(job, Outcome.of(job, "complete", accuracy=0.5))
        (run / "winners").mkdir()
        (run / "winners" / "w1-0000.safetensors").write_text(id)
        storage.save_files(run)
    return ledger


def content(storage: Storage) -> dict[str, bytes]:
    files = [info.path for info in storage._list("", recursive=True) if info.type == FileType.File]
    return {path: storage._files.open_input_stream(path).read() for path in files}


def test_the_storage_of_another_run_is_left_alone(tmp_path: Path, storage: Storage) -> None:
    begun(tmp_path / "one" / "run", storage, "1111111111111111")
    before = content(storage)
    other = tmp_path / "two" / "run"
    write_record(other, kind="search", seed=0, spec={}, id="2222222222222222")
    with pytest.raises(RunError, match=r"^storage: .* has another run of the name run; choose another RUN or storage"):
        storage.restore_files(other)
    with (
        pytest.raises(RunError, match=r"^storage: .*trials/0000 of run is another run's"),
        Ledger(other, storage).locked(),
    ):
        pass
    assert content(storage) == before
    assert sorted(path.name for path in other.rglob("*") if path.name[0] != ".") == ["run.yaml", "trials"]
    storage.restore_files(tmp_path / "one" / "run")


def test_a_record_in_the_storage_that_cannot_be_read_is_named(tmp_path: Path, storage: Storage) -> None:
    begun(tmp_path / "run", storage, "1111111111111111")
    with storage._files.open_output_stream(storage._at("run.yaml")) as stream:
        stream.write(b"spec: [")
    with pytest.raises(RunError, match=r"^storage: .*: run\.yaml of run there cannot be read \(.*\); remove it there"):
        storage.restore_files(tmp_path / "run")


def test_a_trial_in_the_storage_that_cannot_be_read_is_named(tmp_path: Path, storage: Storage) -> None:
    run = tmp_path / "run"
    begun(run, storage, "1111111111111111")
    with storage._files.open_output_stream(storage._at("trials/0000/trial.json")) as stream:
        stream.write(b"{")
    shutil.rmtree(run)
    storage.restore_files(run)
    with (
        pytest.raises(RunError, match=r"^storage: .*: trials/0000 of run is damaged \(.*\); remove it there"),
        Ledger(run, storage).locked(),
    ):
        pass
    assert not [*(run / "trials").glob(".new-*")]


def test_winners_come_back_and_what_is_the_users_beside_them_stays(tmp_path: Path, storage: Storage) -> None:
    run, again = tmp_path / "one" / "run", tmp_path / "two" / "run"
    begun(run, storage, "1111111111111111")
    for name in ("notes.txt", "w1-0000.onnx"):
        (run / "winners" / name).write_text("mine")
    storage.save_files(run)
    storage.restore_files(again)
    names = {"w1-0000.safetensors", "notes.txt", "w1-0000.onnx"}
    assert {path.name for path in (again / "winners").iterdir()} == names
    for name in names:
        (again / "winners" / name).unlink()
    (again / "winners" / "w1-0001.safetensors").touch()
    storage.save_files(again)
    assert storage._names("winners") == {"w1-0001.safetensors", *names} - {"w1-0000.safetensors"}, (
        "the winners of now, and the user's"
    )


def test_what_the_storage_lost_of_a_trial_is_brought_again(tmp_path: Path, storage: Storage) -> None:
    ledger = begun(tmp_path / "run", storage, "1111111111111111")
    storage.remove("trials/0000", "weights.safetensors")
    with ledger.locked():
        assert "weights.safetensors" in storage._names("trials/0000")


def test_a_damaged_trial_would_come_back_from_the_storage_and_the_message_says_so(
    tmp_path: Path, storage: Storage
) -> None:
    ledger = begun(tmp_path / "run", storage, "1111111111111111")
    (ledger.folder / "0000" / "trial.json").write_text("{")
    with pytest.raises(RunError, match=r"to have it fetched from the storage or, deleted there too, trained again"):
        Ledger(tmp_path / "run", storage)


def test_an_upload_that_fails_or_was_killed_leaves_nothing(tmp_path: Path) -> None:
    storage = Storage.of(str(tmp_path / "far"), Path("results/run"))
    assert storage is not None
    with pytest.raises(ZeroDivisionError):
        storage._put(_Broken(), "trials", "a.bin")
    drafts = [tmp_path / "far" / "run" / "trials" / f".{digit * 32}.tmp" for digit in "ab"]
    for draft in drafts:
        draft.touch()
    os.utime(drafts[0], (0, 0))
    with Ledger(tmp_path / "run", storage).locked():
        assert not drafts[0].exists() and drafts[1].exists(), "which may be another process's"
    assert [path.name for path in drafts[0].parent.iterdir()] == [drafts[1].name]


class _Broken(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise ZeroDivisionError


def test_both_sides_learn_what_the_other_one_knows(tmp_path: Path, storage: Storage) -> None:
    """A driver that was killed between its own file and the copy, or before it fetched what a worker had brought."""
    alone = Ledger(tmp_path / "run")
    with alone.locked():
        jobs = [add(alone) for _ in range(3)]
        alone.finish(jobs[2], Outcome.of(jobs[2], "failed", reason="died"))
    with Ledger(tmp_path / "run", storage).locked():
        pass
    with workplace(tmp_path, storage, "0001") as (scratch, keep):
        run_job(Job.read(scratch), works.succeed, lambda row: keep(False))
        keep(True)
    assert not scratch.exists()
    for folder in (tmp_path / "run", tmp_path / "elsewhere"):
        ledger = Ledger(folder, storage)
        with ledger.locked():
            states = [trial.outcome and trial.outcome.state for trial in ledger.trials]
            assert states == [None, "complete", "failed"]


def test_epochs_are_kept_as_they_come_and_the_checkpoint_until_it_is_over(tmp_path: Path, storage: Storage) -> None:
    ledger = Ledger(tmp_path / "run", storage)
    job = add(ledger)
    for ended in (False, True):
        with workplace(ledger.folder, storage, job.id) as (scratch, keep):
            for name in TRANSIENT:
                assert (scratch / name).exists() == ended
                (scratch / name).write_text("1")
            (scratch / "metrics.csv").write_text("epoch\n1\n")
            keep(False)
            ledger.fetch(job)
            assert (job.directory / "metrics.csv").exists()
            assert not any((job.directory / name).exists() for name in TRANSIENT), "which are the workers' alone"
            if ended:
                for name in TRANSIENT:
                    (scratch / name).unlink()
                keep(True)
    assert not storage._names("trials/0000") & set(TRANSIENT)


def test_a_file_is_removed_on_both_sides(tmp_path: Path, storage: Storage) -> None:
    beside = storage.within("baseline")
    beside.__dict__["_opened"] = (storage._files, storage._at("baseline"))
    for ledger in (Ledger(tmp_path / "run", storage), Ledger(tmp_path / "run" / "baseline", beside)):
        job = add(ledger)
        (job.directory / "weights.safetensors").touch()
        ledger.finish(job, Outcome.of(job, "complete", accuracy=0.5))
        for _ in range(2):
            ledger.remove(job, "weights.safetensors")
            assert not (job.directory / "weights.safetensors").exists()
    for folder in ("trials/0000", "baseline/trials/0000"):
        assert storage._names(folder) == {"genome.yaml", "trial.json", "result.json"}


def test_what_is_no_storage_is_refused_with_what_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        RunError, match=r"^storage: 'what://x' is no storage \(.*what.*\); allowed: a path, file://, s3"
    ):
        Storage.of("what://x", tmp_path)
    with pytest.raises(RunError, match=r"^storage: '.*file' cannot be used \(.*\); name another place"):
        Storage.of(str(tmp_path / "file"), tmp_path)
    for place in (tmp_path, f"file://{tmp_path}"):
        with pytest.raises(RunError, match=r"^storage: '.*' is where the run itself is; name another place"):
            Storage.of(str(place), tmp_path / "run")
    assert Storage.of(None, tmp_path) is None


def test_a_storage_that_fails_stops_the_run_and_is_nobodys_outcome(tmp_path: Path) -> None:
    storage = Storage.of(str(tmp_path / "far"), tmp_path / "run")
    assert storage is not None
    assert pickle.loads(pickle.dumps(storage)) == storage
    ledger = Ledger(tmp_path / "run", storage)
    job = add(ledger)
    with workplace(ledger.folder, storage, job.id) as (scratch, keep):
        shutil.rmtree(tmp_path / "far")
        (tmp_path / "far").touch()
        with pytest.raises(StorageError, match=r"storage: .* cannot be used"):
            run_job(Job.read(scratch), works.step, lambda row: keep(False))
        assert Outcome.read(scratch) is None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_whose_driver_and_directory_are_lost_goes_on(tmp_path: Path, drivers: ForkServerContext) -> None:
    """Real drivers, each with a Ray of its own, whose workers do not see the run directory."""
    place, run, whole = tmp_path / "far", tmp_path / "run", tmp_path / "whole"
    arguments = (run, {"RAY_ADDRESS": ""}, TRIALS, works.afar, {"count": 2}, str(place))
    driver = drivers.Process(target=drive, args=arguments)
    driver.start()
    while sum(lines[-1][2] == works.EPOCHS for lines in log(place / "run").values()) < 2:
        assert driver.is_alive()
        time.sleep(0.05)
    workers = workers_of(driver.pid)
    assert workers
    driver.kill()
    driver.join()
    wait_until_gone(workers)  # as its Ray sees to
    begun = log(place / "run")
    shutil.rmtree(run)

    driver = drivers.Process(target=drive, args=arguments)
    driver.start()
    driver.join()
    assert driver.exitcode == 0
    after = log(run)
    assert all(after[trial][: len(lines)] == lines for trial, lines in begun.items()), "what was begun went on"
    go_alone(whole, TRIALS)
    check_exact(run, whole)
    assert log(place / "run") == after
