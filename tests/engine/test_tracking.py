"""Trackers are told each epoch once: of real searches, after kills and pauses, and by what was missed."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nas
from nas.engine import Event, Job, Ledger, Outcome, Pool, tracking
from nas.engine.trackers import CSV, TRACKERS
from nas.engine.tracking import tracked
from nas.errors import SpaceError
from nas.genome import load_genome

ACCURACIES = [(1, 0.1), (2, 0.2), (3, 0.3)]
GENOME = load_genome("lavit_digits")


def trial(ledger: Ledger) -> Job:
    parameters = {"stages.*.core": "less", "rate": 0.1}
    return ledger.add(GENOME, seed=1, hash=GENOME.hash, parameters=parameters, costs={"macs": 100, "params": 10})


def row(epoch: int) -> dict[str, float]:
    return {"epoch": epoch, "accuracy": epoch / 10, "loss": 1.0 / epoch}


def write_metrics(job: Job, epochs: int) -> None:
    lines = [",".join(f"{value}" for value in row(epoch).values()) for epoch in range(1, epochs + 1)]
    (job.directory / "metrics.csv").write_text("\n".join(["epoch,accuracy,loss", *lines]) + "\n")


def train(job: Job, on_event: Any, first: int, last: int) -> None:
    """The epochs as a worker reports them, from its checkpoint on."""
    for epoch in range(first, last + 1):
        write_metrics(job, epoch)
        on_event(Event("epoch", job.id, row(epoch)))


def finish(ledger: Ledger, job: Job, on_event: Any, epochs: int) -> None:
    outcome = Outcome.of(job, "complete", accuracy=0.9, epochs=epochs, seconds=2.0)
    ledger.finish(job, outcome)
    on_event(Event("ended", job.id, outcome.as_dict()))


def twice(ledger: Ledger, names: list[Any]) -> Job:
    """A trial of 3 epochs in two sessions: the second one trains epoch 2 again."""
    job = trial(ledger)
    for first, last in ((1, 2), (2, 3)):
        if "wandb" in names:
            pytest.importorskip("wandb").teardown()  # as the end of a process does
        with tracked(ledger, names, "my_run", lambda event: None) as on_event:
            train(job, on_event, first, last)
            if last == 3:
                finish(ledger, job, on_event, 3)
    return job


def table(directory: Path) -> list[tuple[str, int, str, float]]:
    with (directory / "tracked.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [(row["trial"], int(row["epoch"]), row["metric"], float(row["value"])) for row in rows]


def test_a_csv_has_each_epoch_once(tmp_path: Path) -> None:
    job = twice(Ledger(tmp_path), ["csv"])
    rows = table(tmp_path)
    assert [(epoch, value) for _, epoch, metric, value in rows if metric == "accuracy"] == ACCURACIES
    assert (job.id, 3, "end/accuracy", 0.9) in rows and (job.id, 3, "end/macs", 100.0) in rows
    assert len(rows) == len(set(rows))


def test_tensorboard_reads_back(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    job = twice(Ledger(tmp_path), ["tensorboard"])
    found = EventAccumulator(str(tmp_path / "tensorboard" / job.id)).Reload()
    assert [(event.step, round(event.value, 3)) for event in found.Scalars("accuracy")] == ACCURACIES
    assert [round(event.value, 3) for event in found.Scalars("end/accuracy")] == [0.9]
    assert "_hparams_/session_start_info" in found.summary_metadata


def test_a_local_mlflow_store_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    job = twice(Ledger(tmp_path), ["mlflow"])
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    (run,) = client.search_runs([client.get_experiment_by_name("my_run").experiment_id])
    steps = [(found.step, found.value) for found in client.get_metric_history(run.info.run_id, "accuracy")]
    assert steps == ACCURACIES
    assert (run.info.run_name, run.info.status, run.data.tags["state"]) == (job.id, "FINISHED", "complete")
    assert run.data.params == {"stages._.core": "less", "rate": "0.1"} and run.data.metrics["end/accuracy"] == 0.9


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    job = twice(Ledger(tmp_path), ["wandb"])
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2  # to be synced into one run, by its id
    mark = json.loads((job.directory / "tracked.json").read_text())["wandb"]
    assert mark["ended"] and all(mark["run"] in path.name for path in (tmp_path / "wandb").glob("offline-run-*"))


@settings(max_examples=15)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.booleans()), min_size=1, max_size=4))
def test_whatever_is_trained_again_and_whichever_call_fails_nothing_is_told_twice(
    tmp_path_factory: pytest.TempPathFactory, sessions: list[tuple[int, int, bool]]
) -> None:
    """sessions: epochs more, epochs trained again, whether the tracker fails at the last of them."""
    ledger = Ledger(tmp_path_factory.mktemp("run"))
    job, done = trial(ledger), 0
    for more, again, fails in [*sessions, (1, 0, False)]:
        error = (OSError, SystemExit)[more % 2]("no space left")  # libraries leave by SystemExit, too

        class Failing(CSV):
            def epoch(
                self, job: Job, epoch: int, metrics: Any, last: int = done + more, fails: Any = fails and error
            ) -> None:
                if fails and epoch == last:
                    raise fails
                super().epoch(job, epoch, metrics)

        said: list[Event] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(TRACKERS, "csv", Failing)
            with tracked(ledger, ["csv"], "my_run", said.append) as on_event:
                train(job, on_event, max(1, done - again + 1), done + more)
        assert [event.data["text"] for event in said if event.kind == "message"] == (
            ["the tracker csv failed; the run goes on without it, the next start catches up: no space left"] * fails
        )
        done += more
    told = [epoch for _, epoch, metric, _ in table(ledger.directory) if metric == "accuracy"]
    assert told == list(range(1, done + 1))


def test_a_tracker_that_is_added_later_is_told_all(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    job = trial(ledger)
    train(job, lambda event: None, 1, 3)
    finish(ledger, job, lambda event: None, 3)
    with tracked(ledger, ["csv"], "my_run", lambda event: None):
        pass
    before = table(tmp_path)
    assert [epoch for _, epoch, metric, _ in before if metric == "loss"] == [1, 2, 3]
    with tracked(ledger, ["csv"], "my_run", lambda event: None):
        pass
    assert table(tmp_path) == before


def test_an_absent_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda package: None)
    monkeypatch.chdir(tmp_path)
    for start, name in ((nas.run_search, "lavit_split"), (nas.run_ablation, "lavit_parts")):
        with pytest.raises(SpaceError, match=r"track: mlflow needs .* pip install 'nas-vit\[mlflow\]'"):
            start(name, "run", settings={"track": ["mlflow"]}, progress=False)
    with pytest.raises(SpaceError, match="track"):
        nas.load_space("lavit_split").with_settings({"track": ["comet"]})
    assert not os.path.exists("results")


def test_a_search_that_goes_further_is_tracked_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = {"training.epochs": 2, "training.limit": 200, "halving.first": 1, "track": ["csv"], "workers.count": 1}
    for trials in (2, 3):
        found = nas.run_search("lavit_split", "my_run", settings=wanted | {"trials": trials}, progress=False)
    rows = table(found.directory)
    expected = {(str(n), epoch) for n, end in found.trials[["trial", "epochs"]].values for epoch in range(1, end + 1)}
    told = [(trial, epoch) for trial, epoch, metric, _ in rows if metric == "accuracy"]
    assert sorted(told) == sorted(expected), "each epoch once, of pruned trials too"
    assert sum(metric == "end/seconds" for *_, metric, _ in rows) == 3


def test_a_pipe_in_the_place_of_the_csv_trackers_file_is_an_error_and_no_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "tracked.csv")
    with pytest.raises(OSError, match="a pipe or a device"):
        CSV(tmp_path, "run").epoch(Job(0, 0, "", {}), 1, {"loss": 1.0})
