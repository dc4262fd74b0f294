"""Trials that hang, take too long or take too much memory: the watch alone, then real Ray and real processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import nas
from nas.ablation.spec import Ablation, parse_ablation
from nas.data import ImageSet, load
from nas.engine import Event, Job, Ledger, Limits, Outcome, Pool, Signal, actors, limits
from nas.engine.driver import Driver
from nas.engine.evaluation import read_test
from nas.engine.evaluation import test_in_workers as read_in_workers
from nas.engine.limits import EPOCHS, LISTENED, Pulse, Watch
from nas.engine.storage import Storage
from nas.errors import SpaceError
from nas.files import write_text
from nas.heartbeat import beat, heard_by
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.train import Task, Training, train
from tests.engine import works
from tests.engine.test_ray_tune import GENOME, Listed, drive


@pytest.mark.parametrize("parse", [SearchSpec.parse, parse_ablation])
def test_the_section_of_a_space_and_of_an_ablation(parse: Callable[[dict[str, Any]], SearchSpec | Ablation]) -> None:
    own = {"parameters": {"stages.0.split": {"int": [0, 1]}}} if parse == SearchSpec.parse else {"arms": {"base": {}}}
    keys = {"base": "lavit_digits"} | own
    assert parse(keys).limits == Limits() == Limits(stalled_seconds=600, trial_seconds=None, memory=None)
    given = parse_yaml("{memory: 4e9, trial_seconds: 7200}")
    assert parse(keys | {"limits": given}).limits == Limits(trial_seconds=7200, memory=4_000_000_000)
    for key, value in {"memory": 0.5, "trial_seconds": 0, "stalled_seconds": -1, "seconds": 1}.items():
        with pytest.raises(SpaceError, match=rf"limits\.{key}: "):
            parse(keys | {"limits": {key: value}})


class Clock:
    """Set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.now = 0.0
        monkeypatch.setattr(limits, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def stalls(watch: Watch, clock: Clock, seconds: float) -> bool:
    """Whether a trial is stalled within so many seconds."""
    for _ in range(round(seconds / LISTENED)):
        clock.now += LISTENED
        if over := watch.exceeding():
            assert all(excess.stalled for excess in over.values())
            return True
    return False


def metrics(directory: Path, seconds: list[float]) -> None:
    rows = [f"{epoch},{value}" for epoch, value in enumerate(seconds, start=1)]
    (directory / "metrics.csv").write_text("\n".join(["epoch,seconds", *rows, ""]))


def test_silence_is_measured_by_the_trials_own_epochs_those_of_its_checkpoint_included(
    tmp_path: Path, clock: Clock
) -> None:
    watch = Watch(Limits(stalled_seconds=10))
    watch.begin("0", tmp_path)
    assert not stalls(watch, clock, 10) and stalls(watch, clock, 1)

    metrics(tmp_path, [1, 2, 50])
    watch.begin("0", tmp_path)
    assert not stalls(watch, clock, EPOCHS * 2) and stalls(watch, clock, 1)
    watch.begin("0", tmp_path)
    for seconds in (50, 3, 3):
        watch.epoch("0", seconds)
    assert not stalls(watch, clock, EPOCHS * 3) and stalls(watch, clock, 1)

    (tmp_path / "metrics.csv").write_text("epoch,seconds\n1,what\n")
    watch.begin("0", tmp_path)
    assert stalls(watch, clock, 11), "a damaged table is none; the worker writes it anew"


@given(st.lists(st.tuples(st.integers(1, 10), st.booleans()), max_size=50))
def test_a_slow_trial_that_gets_on_is_never_stalled(pauses: list[tuple[int, bool]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock, watch = Clock(patch), Watch(Limits(stalled_seconds=10))
        watch.begin("0", Path("nowhere"))
        for pause, epoch in pauses:
            assert not stalls(watch, clock, pause)
            if epoch:
                watch.epoch("0", 0.0)
            else:
                watch.alive("0", 0)
        assert stalls(watch, clock, 11)


def test_a_pause_and_time_in_which_the_driver_does_not_listen_do_not_count(tmp_path: Path, clock: Clock) -> None:
    watch = Watch(Limits(stalled_seconds=10, trial_seconds=30))
    watch.begin("0", tmp_path)
    for _ in range(9):  # the driver is stopped with Ctrl-Z, or a sampler thinks
        clock.now += 1000
        assert not watch.exceeding()
    watch.end("0")
    assert not stalls(watch, clock, 100), "it waits at a rung"
    watch.begin("0", tmp_path)
    assert not stalls(watch, clock, 10) and stalls(watch, clock, 1)


def test_the_seconds_of_a_trial_are_those_of_all_its_resumptions(tmp_path: Path, clock: Clock) -> None:
    watch = Watch(Limits(trial_seconds=30))
    metrics(tmp_path, [10, 5])
    watch.begin("0", tmp_path)
    watch.epoch("0", 8)
    assert not stalls(watch, clock, 7)
    clock.now += 1
    (excess,) = watch.exceeding().values()
    assert (excess.reason, excess.seconds) == ("over limits.trial_seconds: trained for 31 s, at most 30 s", 31)
    assert not excess.stalled and not watch.exceeding(), "it is not watched any longer"


def test_a_worker_reports_now_and_then_and_at_once_when_it_is_too_large(clock: Clock) -> None:
    sent: list[int] = []
    pulse = Pulse(Limits(stalled_seconds=20), sent.append)
    for _ in range(8):
        pulse()
        clock.now += 0.5
    assert len(sent) == 3 and min(sent) > 1_000_000

    large = Pulse(Limits(memory=1_000_000), sent.append)
    for _ in range(3):
        large()
    assert len(sent) == 6
    watch = Watch(Limits(memory=4e9))  # type: ignore[arg-type]
    watch.begin("0", Path("nowhere"))
    watch.alive("0", 4_000_000_000)
    assert not watch.exceeding()
    watch.alive("0", 5_120_000_000)
    assert watch.exceeding()["0"].reason == "over limits.memory: its worker holds 5.12 GB, at most 4 GB"


def test_each_training_step_and_evaluated_batch_is_a_beat_and_a_child_process_has_none(tmp_path: Path) -> None:
    beats: list[int] = []
    with heard_by(lambda: beats.append(1)):
        data = load("digits", limit=200)
        beats.clear()
        train(GENOME, data, Training(epochs=2, batch_size=40), directory=tmp_path, seed=0)
        assert len(beats) == 2 * (160 // 40 + 1)
        if (child := os.fork()) == 0:
            heard = len(beats)
            beat()
            os._exit(len(beats) - heard)
        assert os.waitpid(child, 0)[1] == 0
    beat()
    assert len(beats) == 10


class Tune:
    """The driver without Ray, and a trial in it. A worker that is killed is gone at once."""

    def __init__(self, folder: Path, clock: Clock, bounds: Limits):
        self.clock, self.events, self.killed = clock, list[Event](), list[str]()
        self.source = Listed(Ledger(folder), [{}])
        self.driver = Driver(self.source, self.source.ledger, self.events.append, bounds)
        job = self.driver.next()
        assert isinstance(job, Job)
        self.job, self.trial = job, job.id
        self.driver.started(self.trial)

    def hang(self) -> None:
        before = len(self.killed)
        while len(self.killed) == before:
            self.clock.now += LISTENED
            self.driver.check_limits(self.killed.append)


def test_a_stall_counts_as_a_death_of_the_worker(tmp_path: Path, clock: Clock) -> None:
    tune = Tune(tmp_path, clock, Limits(stalled_seconds=10))
    (tune.job.directory / "checkpoint.pt").touch()
    tune.hang()
    tune.driver.retried(tune.trial)
    tune.driver.started(tune.trial)
    tune.driver.reported(tune.trial, {"row": {"epoch": 1, "seconds": 0.1}})
    tune.hang()
    tune.driver.died(tune.trial, "killed")
    assert tune.driver.next() == tune.job, "there was an epoch in between"
    assert not tune.source.told and (tune.job.directory / "checkpoint.pt").exists()
    tune.driver.started(tune.trial)
    tune.hang()
    tune.driver.retried(tune.trial)
    tune.driver.started(tune.trial)
    tune.driver.reported(tune.trial, {"alive": 1})
    tune.hang()
    tune.driver.died(tune.trial, "killed")
    assert tune.source.told[0].reason == "stalled: no progress for 10 s, after a retry"
    assert len(tune.killed) == len(texts(tune.events)) == 4
    assert not (tune.job.directory / "checkpoint.pt").exists()
    tune.driver.check_limits(tune.killed.append)
    assert tune.driver.next() is Signal.DONE and len(tune.killed) == 4


def test_an_outcome_that_comes_before_the_worker_is_gone_holds(tmp_path: Path, clock: Clock) -> None:
    tune = Tune(tmp_path, clock, Limits(trial_seconds=10))
    tune.hang()
    outcome = Outcome.of(tune.job, "complete", accuracy=0.5)
    outcome.write(tune.job.directory)
    tune.driver.retried(tune.trial)
    assert tune.source.told == {0: outcome}
    tune.driver.started(tune.trial)
    tune.driver.reported(tune.trial, {"outcome": outcome.as_dict()})
    assert [event.kind for event in tune.events] == ["started", "ended"]


class Hanging:
    """A clock that stands still unless a trial hangs, and then goes on for long enough to notice: no machine is too
    slow for it, and no process is noticed twice.
    """

    def __init__(self, folder: Path, seconds: int):
        self.folder, self.seconds, self.now = folder, seconds, 0.0
        self.left: dict[str, int] = {}  # by process

    def __call__(self) -> float:
        for file in self.folder.glob("hanging-*"):
            process = file.read_text()
            if self.left.setdefault(process, self.seconds):
                self.left[process] -= 1
                self.now += 1
        return self.now


def texts(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.trial, event.data["text"]) for event in events if event.kind == "message"]


@pytest.mark.slow
def test_a_trial_that_hangs_is_named_and_ended_and_tried_once_more(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, its process having been stopped, and in each attempt, in a lock."""
    clock = Hanging(tmp_path, 12)
    monkeypatch.setattr(limits, "monotonic", clock)
    source, events = drive(
        tmp_path, replace(pool, slots=1, count=1), ["SIGSTOP", "lock"], works.Hang(tmp_path), Limits(stalled_seconds=10)
    )
    assert [source.told[number].state for number in range(2)] == ["complete", "failed"]
    assert source.told[1].reason == "stalled: no progress for 10 s, after a retry"
    assert source.told[1].seconds > 0
    text = "stalled: no progress for 10 s; its worker is ended"
    assert texts(events) == [(trial, f"trial {trial} {text}") for trial in ("0000", "0001", "0001")]
    assert len(clock.left) == 3

    log = [line.split() for line in (tmp_path / "trials/0000/log").read_text().splitlines()]
    assert [epoch for *_, epoch in log] == ["1", "2", "3"], "the retry goes on from the checkpoint"
    assert len({process for process, *_ in log}) == 2
    assert [line.split()[2] for line in (tmp_path / "trials/0001/log").read_text().splitlines()] == ["1"]
    assert not (tmp_path / "trials/0001/checkpoint.pt").exists()
    assert Ledger(tmp_path).table()["reason"].tolist()[1] == source.told[1].reason


@pytest.mark.slow
def test_a_trial_over_a_limit_has_failed_and_is_not_tried_again(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a storage, where the driver sees no trial directory of a worker."""
    run, place = tmp_path / "run", Storage.of(str(tmp_path / "far"), tmp_path / "run")
    monkeypatch.setattr(limits, "monotonic", Hanging(tmp_path, 7))
    bounds = Limits(trial_seconds=5, memory=1)
    one = replace(pool, slots=1, count=1)
    source, events = drive(run, one, ["lock once", "beat", ""], works.Hang(tmp_path), bounds, place)
    reasons = [str(source.told[number].reason).split(":")[0] for number in range(3)]
    assert reasons == ["over limits.trial_seconds", "over limits.memory", "None"]
    assert [source.told[number].state for number in range(3)] == ["failed", "failed", "complete"]
    assert [event.trial for event in events if event.kind == "ended"] == ["0000", "0001", "0002"]
    assert texts(events) == []
    outcome = Outcome.read(tmp_path / "far" / "run" / "trials" / "0000")
    assert outcome == source.told[0]
    assert not (tmp_path / "far" / "run" / "trials" / "0000" / "checkpoint.pt").exists()


@dataclass(frozen=True)
class HangingTask(Task):
    """Its images never come."""

    folder: Path = Path()

    def load(self) -> ImageSet:
        write_text(self.folder / f"hanging-{os.getpid()}", str(os.getpid()))
        works.wait_forever()
        return super().load()


@pytest.mark.slow
def test_an_evaluation_that_hangs_does_not_hold_up_the_run(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "monotonic", Hanging(tmp_path, 12))
    ledger, events = Ledger(tmp_path / "run"), list[Event]()
    job = ledger.add(GENOME, seed=0, hash=GENOME.hash, parameters={})
    save_file(nas.build(GENOME).state_dict(), job.directory / "weights.safetensors")
    bounds, task = Limits(stalled_seconds=10), Task("digits", Training())
    read_in_workers(ledger, [job], HangingTask("digits", Training(), folder=tmp_path), pool, bounds, events.append)
    assert [text.split("; ")[1] for _, text in texts(events)[1:]] == [
        "it is tried once more",
        "its test accuracy stays empty, until the same command is run again",
    ]
    assert texts(events)[1][1].startswith("trial 0000, reading the test split: stalled: no progress for 10 s; ")
    assert read_test(job.directory) == {}
    read_in_workers(ledger, [job], task, pool, bounds, events.append)
    assert 0 < read_test(job.directory)["accuracy"] < 1


def test_an_evaluation_goes_on_where_fewer_workers_fit_than_when_the_run_began(tmp_path: Path, pool: Pool) -> None:
    import ray

    held = ray.remote(num_cpus=1)(Held).remote()
    ray.get(held.here.remote())
    try:
        ledger = Ledger(tmp_path / "run")
        jobs = [ledger.add(GENOME, seed=seed, hash=GENOME.hash, parameters={}) for seed in range(3)]
        for job in jobs:
            save_file(nas.build(GENOME).state_dict(), job.directory / "weights.safetensors")
        read_in_workers(ledger, jobs, Task("digits", Training()), pool, Limits(), [].append)
        assert all(0 < read_test(job.directory)["accuracy"] < 1 for job in jobs)
    finally:
        ray.kill(held)


def test_an_evaluation_that_finds_no_place_says_so_and_waits(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.setattr(actors, "PATIENCE", 0.5)
    ledger, said = Ledger(tmp_path / "run"), list[str]()
    job = ledger.add(GENOME, seed=0, hash=GENOME.hash, parameters={})
    save_file(nas.build(GENOME).state_dict(), job.directory / "weights.safetensors")
    held = [ray.remote(num_cpus=1)(Held).remote() for _ in range(int(ray.cluster_resources()["CPU"]))]
    ray.get([each.here.remote() for each in held])

    def release(event: Event) -> None:
        said.append(event.data["text"])
        if "no worker" in said[-1]:
            for each in held:
                ray.kill(each)

    read_in_workers(ledger, [job], Task("digits", Training()), pool, Limits(), release)
    assert said[1:] == [
        "no worker of 1 CPU and 0 GPU has found a place: other work keeps the machines; waiting for it to end"
    ]
    assert 0 < read_test(job.directory)["accuracy"] < 1


class Held:
    """Takes a core."""

    def here(self) -> bool:
        return True
