"""Out of memory on a shared GPU: once more, alone. The driver's decisions without Ray; test_cluster.py has the rest."""

from __future__ import annotations

from pathlib import Path

from nas.engine import Event, Job, Ledger, Outcome, Signal
from nas.engine.driver import Driver
from nas.engine.worker import CrowdedError, run_job
from tests.engine import works
from tests.engine.test_ray_tune import Listed


class Tune:
    """Two workers on one GPU; the one that was started first ends first."""

    def __init__(self, folder: Path, behaviours: list[str], waits: bool = False):
        self.ledger = Ledger(folder)
        self.events: list[Event] = []
        self.source = Patient(self.ledger, [{"behaviour": behaviour} for behaviour in behaviours])
        self.source.waits = waits
        self.driver = Driver(self.source, self.ledger, self.events.append)
        self.ran: list[tuple[str, bool]] = []  # trial, whether alone

    def go(self) -> list[tuple[str, bool]]:
        live: list[tuple[Job, bool]] = []
        answer: Job | Signal = Signal.WAIT
        while live or answer is not Signal.DONE:  # which is final: Tune does not ask again
            while answer is not Signal.DONE and len(live) < 2 and isinstance(answer := self.driver.next(), Job):
                live.append((answer, self.driver.alone == answer.id))
            if not live:
                continue
            assert len(live) == 1 or not any(alone for _, alone in live)
            job, alone = live.pop(0)
            self.ran.append((job.id, alone))
            try:
                outcome = run_job(job, works.behave, lambda row: None, neighbours=not alone)
            except CrowdedError as error:
                self.driver.reported(job.id, {"crowded": str(error)})
            else:
                self.driver.reported(job.id, {"outcome": outcome.as_dict()})
        return self.ran


class Patient(Listed):
    """With `waits`, the third job depends on the outcome of the first two, as an adaptive search's does."""

    waits = False

    def next(self) -> Job | Signal:
        return Signal.WAIT if self.waits and self.ledger.next_number == 2 and len(self.told) < 2 else super().next()


def test_it_is_run_once_more_when_the_others_have_ended(tmp_path: Path) -> None:
    tune = Tune(tmp_path, ["", "exhaust once", "", "exhaust", ""])
    assert tune.go() == [*((f"{n:04d}", False) for n in range(5)), ("0001", True), ("0003", True)]
    states = [tune.source.told[number].state for number in range(5)]
    assert states == ["complete", "complete", "complete", "failed", "complete"]
    assert str(tune.source.told[3].reason).startswith("out of memory: CUDA out of memory.")
    assert [event.trial for event in tune.events if event.kind == "message"] == ["0001", "0003"]


def test_a_source_that_waits_for_it_gets_it_at_once(tmp_path: Path) -> None:
    tune = Tune(tmp_path, ["exhaust once", "", "", ""], waits=True)
    ran = [("0000", False), ("0001", False), ("0000", True), ("0002", False), ("0003", False)]
    assert tune.go() == ran


def test_an_interrupted_second_try_begins_anew(tmp_path: Path) -> None:
    tune = Tune(tmp_path, ["exhaust"])
    job = tune.driver.next()
    assert isinstance(job, Job)
    tune.driver.reported(job.id, {"crowded": "CUDA out of memory"})
    assert [trial.outcome for trial in Ledger(tmp_path).trials] == [None]
    assert Tune(tmp_path, []).go() == [("0000", False), ("0000", True)]
    assert [outcome.state for outcome in outcomes(tmp_path)] == ["failed"]


def outcomes(folder: Path) -> list[Outcome]:
    return [trial.outcome for trial in Ledger(folder).trials if trial.outcome is not None]
