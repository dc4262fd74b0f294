"""Real Ray, real worker processes; what they do instead of training is in works.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nas.engine import Event, Job, Ledger, Limits, Outcome, Pool, Signal, run
from nas.engine.driver import Driver
from nas.engine.ray_tune import _Jobs, _Watch
from nas.engine.storage import Storage
from nas.errors import RunError
from nas.genome import Genome, load_genome
from tests.engine import works

GENOME = load_genome("lavit_digits")


class Listed:
    """Hands out one job per entry of `parameters`, and keeps what it is told."""

    def __init__(self, ledger: Ledger, parameters: list[dict[str, Any]], genome: Genome = GENOME):
        self.unpicklable = (i for i in range(3))  # as clients may be
        self.ledger, self.left, self.genome = ledger, list(parameters), genome
        self.told: dict[int, Outcome] = {}

    def unfinished(self) -> list[Job]:
        return self.ledger.unfinished

    def next(self) -> Job | Signal:
        if not self.left:
            return Signal.DONE
        return self.ledger.add(self.genome, seed=0, hash=self.genome.hash, parameters=self.left.pop(0))

    def tell(self, job: Job, outcome: Outcome) -> None:
        assert Outcome.read(job.directory) == outcome
        self.told[job.number] = outcome


def drive(
    path: Path,
    pool: Pool,
    behaviours: list[str],
    work: Callable = works.behave,
    limits: Limits = Limits(),
    storage: Storage | None = None,
) -> tuple[Listed, list[Event]]:
    ledger, events = Ledger(path, storage), []
    source = Listed(ledger, [{"behaviour": behaviour} for behaviour in behaviours])
    with ledger.locked():
        run(source, ledger, work=work, pool=pool, limits=limits, on_event=events.append)
    return source, events


def test_a_run_that_tune_ends_early_is_not_taken_for_done(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.tune.Tuner.fit", lambda self: None)
    with pytest.raises(RunError, match="Ray Tune has stopped before the work was done; the same command resumes"):
        drive(tmp_path, pool, [""])


def test_each_trial_ends_as_what_it_is_and_the_others_go_on(tmp_path: Path, pool: Pool) -> None:
    behaviours = ["", "raise", "diverge", "die", "exhaust", "die once", "threads", "stumble", ""]
    source, events = drive(tmp_path, pool, behaviours)

    states = [source.told[number].state for number in range(9)]
    assert states == ["complete", *["failed"] * 4, *["complete"] * 4]
    assert "worker process died 2 times without an epoch in between" in str(source.told[3].reason)
    assert [line.split()[2] for line in (tmp_path / "trials/0007/log").read_text().splitlines()] == ["1", "2", "3"]
    assert (tmp_path / "trials" / "0003" / "failure.txt").exists()
    assert (source.told[6].epochs, source.told[6].seconds) == (pool.cpu, pool.cpu), "threads of torch and OpenMP"

    assert Ledger(tmp_path).unfinished == []
    assert Ledger(tmp_path).table()["state"].tolist() == states
    assert (tmp_path / "trials.csv").exists()
    assert not (tmp_path / ".ray").exists()

    told = [(event.kind, event.trial) for event in events]
    assert {("started", "0000"), ("epoch", "0000"), ("ended", "0000")} <= set(told)
    assert told.index(("started", "0000")) < told.index(("epoch", "0000")) < told.index(("ended", "0000"))


@pytest.mark.parametrize(
    "news", [{"saved": True}, {"row": {"epoch": 1}}, {"alive": 10**9}], ids=["saved", "row", "alive"]
)
def test_a_trial_that_got_on_before_its_worker_died_twice_is_queued_again(tmp_path: Path, news: dict[str, Any]) -> None:
    """A new checkpoint is progress, within an epoch too; a sign of life is not."""
    ledger = Ledger(tmp_path)
    driver = Driver(Listed(ledger, [{}]), ledger, lambda event: None)
    job = driver.next()
    assert isinstance(job, Job)
    driver.started(job.id)
    driver.retried(job.id)
    driver.started(job.id)
    driver.reported(job.id, news)
    driver.died(job.id, "SIGKILL")
    if "alive" in news:
        outcome = Outcome.read(job.directory)
        assert outcome is not None and outcome.state == "failed"
    else:
        assert Outcome.read(job.directory) is None
        assert driver.next() == job


def test_a_worker_that_dies_after_its_outcome_was_heard_is_no_news(tmp_path: Path) -> None:
    """Tune starts its trial once more, and tells of that."""
    ledger, events = Ledger(tmp_path), []
    source = Listed(ledger, [{}])
    driver = Driver(source, ledger, events.append)
    job = driver.next()
    outcome = Outcome.of(job, "complete", accuracy=0.5)
    outcome.write(job.directory)
    news = {"outcome": asdict(outcome)}
    driver.started(job.id)
    driver.reported(job.id, news)
    heard = len(events)
    driver.started(job.id)
    driver.reported(job.id, news)
    driver.died(job.id, "SIGKILL")
    assert len(events) == heard and source.told == {0: outcome} and driver.next() is Signal.DONE


def test_a_trial_goes_on_while_it_gets_further_between_deaths(tmp_path: Path) -> None:
    ledger, events = Ledger(tmp_path), []
    source = Listed(ledger, [{}])
    driver = Driver(source, ledger, events.append)
    job, watch = driver.next(), _Watch(driver)
    trial = SimpleNamespace(config={"trial": job.id})

    def advance_and_die_twice(*, between: bool) -> None:
        driver.reported(job.id, {"row": {"epoch": 1}})
        watch.on_trial_recover(0, [], trial)
        if between:
            driver.reported(job.id, {"row": {"epoch": 2}})
        driver.died(job.id, "the machine is gone")

    advance_and_die_twice(between=True)
    assert driver.next() == job
    advance_and_die_twice(between=True)
    assert driver.next() == job and not source.told
    advance_and_die_twice(between=False)
    assert source.told[0].state == "failed" and driver.next() is Signal.DONE


def test_resources_are_asked_for_once_for_each_worker(tmp_path: Path, pool: Pool) -> None:
    """Tune makes and withdraws a request for every job that it gets early, and Ray may lose what was requested."""
    import ray

    before = len(ray.util.placement_group_table())
    drive(tmp_path, pool, [""] * 10, works.succeed)
    assert len(ray.util.placement_group_table()) - before <= pool.slots


def test_an_error_ends_a_run_whose_machines_are_gone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    driver = Driver(Listed(ledger, [{}]), ledger, lambda event: None)
    jobs = _Jobs(driver, lambda: 0)
    assert jobs.suggest("a") is None
    driver.error = RunError("the disk is full")
    assert jobs.suggest("a") == _Jobs.FINISHED


def test_unfinished_trials_are_run_first_and_finished_ones_never_again(tmp_path: Path, pool: Pool) -> None:
    ledger = Ledger(tmp_path)
    jobs = [ledger.add(GENOME, seed=0, hash="", parameters={"behaviour": ""}) for _ in range(3)]
    ledger.finish(jobs[1], Outcome.of(jobs[1], "complete", accuracy=0.75))

    source, events = drive(tmp_path, pool, [""])
    started = [event.trial for event in events if event.kind == "started"]
    assert sorted(started) == ["0000", "0002", "0003"]
    assert set(started[:2]) == {"0000", "0002"}
    assert sorted(source.told) == [0, 2, 3]
    assert Ledger(tmp_path).table()["accuracy"].tolist() == [0.0, 0.75, 0.02, 0.03]


def test_a_full_disk_ends_the_run_and_leaves_the_trial_resumable(tmp_path: Path, pool: Pool) -> None:
    with pytest.raises(RunError, match=r"cannot be written.*No space left"):
        drive(tmp_path, pool, ["disk"])
    assert [job.id for job in Ledger(tmp_path).unfinished] == ["0000"]


def test_what_a_source_raises_ends_the_run_with_it(tmp_path: Path, pool: Pool) -> None:
    class Broken(Listed):
        def tell(self, job: Job, outcome: Outcome) -> None:
            raise ZeroDivisionError("a bug in the source")

    ledger = Ledger(tmp_path)
    with pytest.raises(ZeroDivisionError, match="a bug in the source"), ledger.locked():
        run(Broken(ledger, [{}] * 4), ledger, work=works.succeed, pool=pool)


SCRIPT = """
import sys
from pathlib import Path
from nas.engine import Ledger, Workers, run, session
from tests.engine import works
from tests.engine.test_ray_tune import Listed

ledger = Ledger(Path(sys.argv[1]))
with ledger.locked(), session(Workers(count=2)) as pool:
    run(Listed(ledger, [{}, {}, {}, {}]), ledger, work=works.linger, pool=pool)
"""


@pytest.mark.usefixtures("signals_heeded")
def test_an_interrupt_ends_the_run_at_once_and_leaves_its_trials_resumable(tmp_path: Path) -> None:
    """What Ctrl-C in a terminal reaches: the driver and all that it has started."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "run")]
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env, start_new_session=True)
    while not list(tmp_path.glob("run/trials/*/lingering")):
        assert driver.poll() is None, driver.communicate()[1]
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGINT)
    _, stderr = driver.communicate()
    assert driver.returncode != 0
    assert stderr.rstrip().endswith("KeyboardInterrupt"), stderr
    ledger = Ledger(tmp_path / "run")
    assert len(ledger.unfinished) == len(ledger.trials) >= 1
    assert (tmp_path / "run" / "trials.csv").exists()
    assert not (tmp_path / "run" / ".ray").exists()
    with ledger.locked():
        pass
