from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nas.engine import Job, Ledger, Outcome, Signal
from nas.engine.driver import Driver
from nas.engine.events import ignore
from nas.engine.record import identity, write_record
from nas.errors import RunError
from nas.files import write_text
from nas.genome import Genome, load_genome
from nas.profiling import cost
from nas.row_seals import ROW_SEAL


@pytest.fixture
def genome() -> Genome:
    return load_genome("lavit_digits")


COSTS = {"macs": 10, "params": 20}


def add(ledger: Ledger, genome: Genome, **job: object) -> Job:
    given = {"seed": 5, "hash": genome.hash, "parameters": {"stages.0.split": 2}, "costs": COSTS}
    return ledger.add(genome, **(given | job))


def test_a_job_and_its_outcome_come_back_from_disk(tmp_path: Path, genome: Genome) -> None:
    ledger = Ledger(tmp_path)
    job = add(
        ledger, genome, costs=COSTS | {"throughput": 12.5, "peak_memory": 4096}, note={"draw": 3},
        parameters={"a": {"block": "less"}, "b": None, "c": 1e-7},
    )  # fmt: skip
    outcome = Outcome.of(job, "complete", accuracy=0.1 + 0.2, epochs=3, seconds=1.5)
    ledger.finish(job, outcome)

    (again,) = Ledger(tmp_path).trials
    assert again.job == job
    assert again.outcome == outcome
    assert again.outcome.value("throughput") == 12.5 and again.outcome.value("latency") is None
    assert isinstance(again.outcome.value("peak_memory"), int)
    assert again.job.genome == genome


def test_numbers_go_on_after_a_restart_and_ids_sort_beyond_four_digits(tmp_path: Path, genome: Genome) -> None:
    ledger = Ledger(tmp_path)
    assert [add(ledger, genome).id for _ in range(3)] == ["0000", "0001", "0002"]
    ledger = Ledger(tmp_path)
    ledger.next_number = 10_000
    assert add(ledger, genome).id == "10000"
    assert [trial.job.number for trial in Ledger(tmp_path).trials] == [0, 1, 2, 10_000]


def test_the_table_has_the_columns_that_readers_rely_on(tmp_path: Path, genome: Genome) -> None:
    ledger = Ledger(tmp_path)
    done, running = add(ledger, genome), add(ledger, genome, parameters={"core": {"block": "less"}})
    ledger.finish(done, Outcome.of(done, "complete", accuracy=0.5, epochs=2))
    (running.directory / "metrics.csv").write_text("epoch,loss\n1,0.5\n2,0.4\n3,0.3\n")
    refused = add(ledger, genome, costs={})
    ledger.finish(refused, Outcome.of(refused, "infeasible", reason="macs 10 over"))
    ledger.write_table()

    table = pd.read_csv(tmp_path / "trials.csv", dtype={"trial": str})
    columns = "trial state epochs accuracy accuracy_se macs params throughput seed hash seconds reason"
    assert list(table.columns) == [*columns.split(), "stages.0.split", "core", ROW_SEAL]
    assert table["trial"].tolist() == ["0000", "0001", "0002"]
    assert table["state"].tolist() == ["complete", "running", "infeasible"]
    assert table["epochs"].tolist() == [2, 3, 0]
    assert table["core"][1] == '{"block": "less"}'


def test_further_costs_stand_beside_the_public_ones(tmp_path: Path, genome: Genome) -> None:
    """In the files too; a metric whose plug-in is not here is a number like any other."""
    ledger = Ledger(tmp_path)
    job = add(ledger, genome, costs=COSTS | {"peak_memory": 4096, "of_a_plug_in": 7})
    ledger.finish(job, Outcome.of(job, "complete", accuracy=0.5))
    for name in ("trial.json", "result.json"):
        content = json.loads((job.directory / name).read_text())
        assert [content[key] for key in ("macs", "params", "throughput", "peak_memory")] == [10, 20, None, 4096]
    table = Ledger(tmp_path).table()
    columns = "accuracy accuracy_se macs params throughput peak_memory of_a_plug_in seed"
    assert list(table.columns)[3:11] == columns.split()
    assert table["peak_memory"].tolist() == [4096] and table["of_a_plug_in"].tolist() == [7.0]


def test_trials_of_version_0_1_open() -> None:
    ledger = Ledger(Path(__file__).parents[1] / "fixtures/v0_1/halving")
    written = pd.read_csv(ledger.directory / "trials.csv", dtype={"trial": str})
    pd.testing.assert_frame_equal(ledger.table().drop(columns="accuracy_se"), written, check_dtype=False)
    pause = ledger.trial(0).rungs[1]
    assert (pause.state, pause.costs, pause.seconds) == ("paused", ledger.trial(0).job.costs, pytest.approx(0.4922622))


def test_an_empty_ledger_has_an_empty_table(tmp_path: Path) -> None:
    assert len(Ledger(tmp_path).table()) == 0


def test_the_first_outcome_stays(tmp_path: Path, genome: Genome) -> None:
    """A worker may have written its result just before its driver took it for dead."""
    ledger = Ledger(tmp_path)
    job = add(ledger, genome)
    Outcome.of(job, "complete", accuracy=0.9).write(job.directory)
    ledger.finish(job, Outcome.of(job, "failed", reason="died"))
    assert Ledger(tmp_path).trials[0].outcome.state == "complete"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["trial.json", "result.json"])
def test_a_damaged_file_is_named(tmp_path: Path, genome: Genome, name: str) -> None:
    job = add(Ledger(tmp_path), genome)
    (job.directory / name).write_text('{"number": 0, "se')
    with pytest.raises(RunError, match=rf"trials/0000/{name}.*damaged"):
        Ledger(tmp_path)


def test_only_one_process_drives_a_run(tmp_path: Path) -> None:
    code = (
        f"from pathlib import Path; from nas.engine import Ledger\nwith Ledger(Path({str(tmp_path)!r})).locked(): pass"
    )
    with Ledger(tmp_path).locked():
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "RunError" in other.stderr
        assert f"busy: another process (pid {os.getpid()})" in other.stderr
    with Ledger(tmp_path).locked():
        pass


def test_what_a_kill_left_half_made_is_cleared_away(tmp_path: Path, genome: Genome) -> None:
    ledger = Ledger(tmp_path)
    job = add(ledger, genome)
    (ledger.folder / ".new-abc").mkdir()
    old, new = tmp_path / ".trials.csv.x3f.tmp", tmp_path / ".report.html.x3f.tmp"
    old.touch(), new.touch()
    os.utime(old, (0, 0))
    ledger = Ledger(tmp_path)
    with ledger.locked():
        assert [path.name for path in ledger.folder.iterdir()] == [job.id]
    assert not old.exists() and new.exists(), "another process may be writing it"


def test_a_disk_that_fills_up_is_the_users_problem_and_other_errors_are_not(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot be written.*No space"), Ledger(tmp_path / "run").locked():
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(FileNotFoundError), Ledger(tmp_path / "run").locked():
        (tmp_path / "missing").read_text()
    assert not (tmp_path / "run").exists(), "nothing was added to it"


def test_a_driver_sees_what_the_one_before_it_did(tmp_path: Path, genome: Genome) -> None:
    early = Ledger(tmp_path)
    job = add(Ledger(tmp_path), genome)
    with early.locked():
        assert early.unfinished == [job]
        assert add(early, genome).number == 1


def test_a_run_directory_that_cannot_be_made_is_the_users_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "trials").touch()
    with pytest.raises(RunError, match="not writable"), Ledger(tmp_path / "other").locked():
        pass
    with pytest.raises(RunError, match="not writable"), Ledger(tmp_path / "file" / "run").locked():
        pass


WRONG = [
    ("result.json", {"state": "banana"}, "state: damaged .*'complete'"),
    ("result.json", {"accuracy": 7.0}, "accuracy: damaged .*expected at most 1, found 7.0"),
    ("result.json", {"accuracy": float("nan")}, "accuracy: damaged"),
    ("result.json", {"accuracy": "0.5"}, "accuracy: damaged"),
    ("result.json", {"epochs": -1}, "epochs: damaged"),
    ("result.json", {"macs": float("inf")}, "costs.macs: damaged"),
    ("result.json", {"macs": -5}, "costs.macs: damaged"),
    ("result.json", {"version": 99}, "its format is version 99"),
    ("trial.json", {"number": 4}, "it belongs to trial 0004"),
    ("trial.json", {"seed": "x"}, "seed: damaged"),
    ("trial.json", {"parameters": []}, "parameters: damaged"),
    ("trial.json", {"note": None}, "note: damaged"),
    ("trial.json", {"version": 99}, "its format is version 99"),
]


@pytest.mark.parametrize(("name", "change", "message"), WRONG)
def test_a_value_that_cannot_be_is_named(
    tmp_path: Path, genome: Genome, name: str, change: dict[str, object], message: str
) -> None:
    ledger = Ledger(tmp_path)
    job = add(ledger, genome)
    ledger.finish(job, Outcome.of(job, "complete", accuracy=0.5, epochs=2))
    file = job.directory / name
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(RunError, match=rf"trials/0000/{name}: {message}"):
        Ledger(tmp_path)


@pytest.mark.parametrize(("state", "noticed"), [("complete", True), ("pruned", False)])
def test_metrics_of_a_finished_trial_that_have_changed_or_are_gone_are_noticed(
    tmp_path: Path, genome: Genome, state: str, noticed: bool
) -> None:
    """A pruned trial may have been trained further when the driver was killed."""
    ledger = Ledger(tmp_path)
    job = add(ledger, genome)
    metrics = job.directory / "metrics.csv"
    metrics.write_text("epoch,loss,accuracy\n1,2.31,0.25\n2,1.99,0.5\n")
    ledger.finish(job, Outcome.of(job, state, accuracy=0.5, epochs=2))  # type: ignore[arg-type]
    assert len(Ledger(tmp_path).trials) == 1
    metrics.write_text(metrics.read_text().replace("2.31", "2.37"))
    if noticed:
        with pytest.raises(RunError, match=r"trials/0000/metrics\.csv: damaged \(it is not what the trial ended with"):
            Ledger(tmp_path)
    metrics.unlink()
    if noticed:
        with pytest.raises(RunError, match=r"trials/0000/metrics\.csv: gone, of a trial that has ended: restore it"):
            Ledger(tmp_path)
    result = json.loads((job.directory / "result.json").read_text())
    del result["metrics_sha256"], result["sha256"]  # as in version 0.1
    (job.directory / "result.json").write_text(json.dumps(result))
    assert len(Ledger(tmp_path).trials) == 1


@pytest.mark.parametrize("sealed", [True, False])
def test_costs_that_a_formula_knows_are_worked_out_again(tmp_path: Path, genome: Genome, sealed: bool) -> None:
    job = add(
        Ledger(tmp_path), genome, hash=genome.hash, costs={"macs": cost(genome).macs, "params": cost(genome).params}
    )
    file = job.directory / "trial.json"
    content = json.loads(file.read_text()) | {"macs": None}
    if not sealed:  # as in earlier versions, and with a key of a later one
        content = {key: content[key] for key in content if key != "sha256"} | {"of_a_later_version": {"a": 1}}
    file.write_text(json.dumps(content))
    (again,) = Ledger(tmp_path).trials
    assert again.job.costs["macs"] == cost(genome).macs


@pytest.mark.parametrize("change", [{"macs": None}, {"macs": ...}, {"throughput": ...}])
def test_a_cost_that_a_result_lacks_is_that_of_its_trial(
    tmp_path: Path, genome: Genome, change: dict[str, Any]
) -> None:
    ledger = Ledger(tmp_path)
    job = add(ledger, genome)
    ledger.finish(job, Outcome.of(job, "complete", accuracy=0.5, epochs=2))
    file = job.directory / "result.json"
    content = json.loads(file.read_text()) | change
    file.write_text(json.dumps({key: content[key] for key in content if content[key] is not ...}))
    (again,) = Ledger(tmp_path).trials
    assert again.outcome is not None and again.outcome.costs["macs"] == job.costs["macs"]


def test_what_is_no_trials_is_left_alone(tmp_path: Path, genome: Genome) -> None:
    ledger = Ledger(tmp_path)
    add(ledger, genome)
    shutil.copytree(ledger.folder / "0000", ledger.folder / "0005.bak")
    (ledger.folder / "7").mkdir()
    (ledger.folder / "notes.txt").write_text("mine")
    again = Ledger(tmp_path)
    with again.locked():
        assert [trial.job.number for trial in again.trials] == [0]
        assert sorted(again.foreign) == ["0005.bak", "7", "notes.txt"]
    assert (ledger.folder / "0005.bak" / "genome.yaml").exists()


def begun(run: Path, **spec: object) -> Ledger:
    write_record(run, kind="search", seed=0, spec=spec, id=identity("search", spec, may_differ={"trials"}, start=None))
    return Ledger(run)


def test_a_trial_of_another_run_is_named(tmp_path: Path, genome: Genome) -> None:
    ledger, other = begun(tmp_path / "run", epochs=20), begun(tmp_path / "other", epochs=5)
    same = begun(tmp_path / "same", epochs=20, trials=9)
    add(ledger, genome)
    for each in (other, same):
        add(each, genome)
        shutil.copytree(add(each, genome).directory, ledger.folder / "0001", dirs_exist_ok=True)
        if each is same:
            assert len(Ledger(tmp_path / "run").trials) == 2, "a run of the same spec is the same run"
            continue
        with pytest.raises(RunError, match=r"trials/0001/trial\.json: run: it belongs to another run; put its dir"):
            Ledger(tmp_path / "run")


@pytest.mark.parametrize("foreign", ["new", "old"])
def test_what_has_no_run_is_of_another_one_than_what_has(tmp_path: Path, genome: Genome, foreign: str) -> None:
    """A run of an earlier version has no id, and neither have its trials."""
    write_text(tmp_path / "old" / "run.yaml", "kind: search\nspec: {}\n")
    old, new = Ledger(tmp_path / "old"), begun(tmp_path / "new")
    for each in (old, new):
        add(each, genome)
        assert len(Ledger(each.directory).trials) == 1
    source, target = (new, old) if foreign == "new" else (old, new)
    shutil.copytree(add(source, genome, number=5).directory, target.folder / "0005")
    with pytest.raises(RunError, match="it belongs to another run"):
        Ledger(target.directory)


def test_a_record_of_another_run_is_named_and_not_its_trials(tmp_path: Path, genome: Genome) -> None:
    ledger = begun(tmp_path / "run")
    add(ledger, genome)
    add(ledger, genome)
    shutil.copyfile(begun(tmp_path / "other", epochs=3).directory / "run.yaml", tmp_path / "run/run.yaml")
    with pytest.raises(RunError, match=r"run\.yaml: id: it is \w{16}, and all trials have \w{16}; restore"):
        Ledger(tmp_path / "run")


def test_what_an_interrupted_start_has_left_is_held_to_the_run_that_begins(tmp_path: Path, genome: Genome) -> None:
    """Trials that are taken over from an earlier run are there before run.yaml."""
    first = Ledger(tmp_path)
    first.begin("a")
    add(first, genome)
    Ledger(tmp_path).begin("a")
    with pytest.raises(RunError, match="it belongs to another run"):
        Ledger(tmp_path).begin("b")


def test_a_run_within_a_run_is_another_one(tmp_path: Path, genome: Genome) -> None:
    ledger = begun(tmp_path)
    beside = ledger.within("baseline")
    add(ledger, genome)
    job = add(beside, genome, number=3)
    assert job.run == beside.id == f"{ledger.id}/baseline"
    assert len(Ledger(tmp_path).within("baseline").trials) == 1
    shutil.copytree(job.directory, ledger.folder / job.id)
    with pytest.raises(RunError, match="it belongs to another run"):
        Ledger(tmp_path)


def test_a_result_or_a_pause_of_another_trial_is_named(tmp_path: Path, genome: Genome) -> None:
    """With its metrics, and of the same genome: nothing else in it says so."""
    ledger = Ledger(tmp_path)
    jobs = [add(ledger, genome, seed=seed) for seed in (1, 2)]
    for job, accuracy in zip(jobs, (0.5, 0.75), strict=True):
        (job.directory / "metrics.csv").write_text(f"epoch,loss,accuracy\n1,2.0,{accuracy}\n")
        Outcome.of(job, "paused", accuracy=accuracy, epochs=1).write(job.directory)
        ledger.finish(job, Outcome.of(job, "complete", accuracy=accuracy, epochs=1))
    assert Ledger(tmp_path).trial(1).rungs[1].accuracy == 0.75
    for names in (["metrics.csv", "result.json"], ["rungs.json"]):
        own = {name: (jobs[0].directory / name).read_bytes() for name in names}
        for name in names:
            shutil.copyfile(jobs[1].directory / name, jobs[0].directory / name)
        with pytest.raises(RunError, match=rf"0000/{names[-1]}: damaged \(it is of another trial\)"):
            Ledger(tmp_path)
        for name in names:
            (jobs[0].directory / name).write_bytes(own[name])


def test_another_genome_is_not_taken_for_the_trials(tmp_path: Path, genome: Genome) -> None:
    job = add(Ledger(tmp_path), genome, hash=genome.hash)
    (job.directory / "genome.yaml").write_text(genome.edit({"classes": 7}).to_yaml())
    with pytest.raises(RunError, match=r"genome.yaml: not this trial's genome: its hash is"):
        _ = Ledger(tmp_path).trials[0].job.genome


@pytest.mark.parametrize("then", ["gone", "another", "another run"])
def test_a_directory_that_is_removed_under_a_run_ends_it(tmp_path: Path, genome: Genome, then: str) -> None:
    run = tmp_path / "run"
    ledger = Ledger(run)

    def removed() -> None:
        with ledger.locked():
            job = ledger.add(genome, seed=0, hash=genome.hash, parameters={})
            ledger.check_there()
            shutil.rmtree(run)
            if then != "gone":
                run.mkdir()
            if then == "another run":
                (run / ".lock").touch()
            driver = Driver(_Source(), ledger, ignore)
            driver.live[job.id] = job
            driver.guarded(driver.reported, job.id, {"row": {}})
            assert driver.next() is Signal.DONE
            driver.guarded(ledger.write_table)
            assert driver.error is not None
            raise driver.error

    with pytest.raises(RunError, match="removed or replaced while this process was at work in it"):
        removed()
    assert [path.name for path in run.glob("*")] == [".lock"] * (then == "another run"), "nothing is written there"


class _Source:
    def unfinished(self) -> list[Job]:
        return []

    def next(self) -> Job | Signal:
        raise AssertionError("asked although the directory is gone")

    def tell(self, job: Job, outcome: Outcome) -> None:
        pass
