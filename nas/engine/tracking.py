"""`track: [tensorboard, mlflow, wandb, csv]`: trackers are told the epochs and outcomes of a run's trials as they come.

Trackers hang on the engine's events, in the driver, and not on Ray's callbacks. Those see Ray's own trials: one that
pauses, is retried or is resumed by another session is a new trial there, and would be a new run of the tracker. Here a
trial has one run for its life.

What a tracker has been told is written to trials/0007/tracked.json, before it is told: an epoch that is trained again
after a kill is told once. The trial directories are the truth: what they have and a tracker lacks (it failed, was added
later, or the driver was killed) is told at the next start. A kill between mark and call loses at most one epoch there.

Trackers are slow to import and may hang on a network, so a thread tells them. One that fails is reported once and left
alone for the session; no trial waits for it.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from nas.credentials import masked
from nas.engine.events import Event, OnEvent
from nas.engine.job import Count, Job, Outcome
from nas.engine.ledger import Ledger
from nas.engine.reading import read_epochs, read_json
from nas.engine.trackers import TRACKERS, Name, Tracker
from nas.errors import SpaceError
from nas.files import write_json

MARKS = "tracked.json"
FLUSH_SECONDS = 60.0  # to wait for the last epochs at the end of a run
Told = tuple[Job, list[dict[str, Any]], Outcome | None, bool]  # trial, its epochs, its outcome, whether it rests now


class Mark(TypedDict):
    """What a tracker knows of a trial. run: its name for it."""

    epochs: Count
    ended: bool
    run: str | None


def check_trackers(names: Collection[Name]) -> None:
    """Raise SpaceError if the package of a tracker is not installed.

    >>> check_trackers(["csv"])
    """
    for name in names:
        package = TRACKERS[name].package
        if package is not None and find_spec(package) is None:
            raise SpaceError(
                f"{name} needs a package that is not installed: pip install 'nas-vit[{name}]'", path="track"
            )


@contextmanager
def tracked(ledger: Ledger, names: Collection[Name], run: str, on_event: OnEvent) -> Iterator[OnEvent]:
    """`on_event`, extended to tell the trackers. run: the name that they show.

    >>> with tracked(ledger, ["tensorboard"], "my_run", on_event) as on_event:
    ...     run.train(searcher, work, on_event)
    """
    if not names:
        yield on_event
        return
    tracking = Tracking(ledger, names, run, on_event)
    try:
        yield tracking
    finally:
        tracking.close()


class Tracking:
    """See the head of this file."""

    def __init__(self, ledger: Ledger, names: Collection[Name], run: str, on_event: OnEvent):
        self.ledger, self.names, self.run, self.on_event = ledger, tuple(dict.fromkeys(names)), run, on_event
        self.failed: dict[str, BaseException] = {}
        self.reported: set[str] = set()
        self.queue: SimpleQueue[Told | None] = SimpleQueue()
        self.catch_up()
        self.thread = threading.Thread(target=self._work, name="trackers", daemon=True)
        self.thread.start()

    def __call__(self, event: Event) -> None:
        self.on_event(event)
        if event.kind == "epoch":
            self.queue.put((self._job(event), [event.data], None, False))
        elif event.kind == "paused":
            self.queue.put((self._job(event), [], None, True))
        elif event.kind == "ended":
            self.queue.put((self._job(event), [], Outcome.from_dict(event.data), True))
        self._report()

    def catch_up(self) -> None:
        """Queue what the trial directories have and a tracker lacks."""
        for trial in self.ledger.trials:
            outcome = trial.outcome
            if outcome is not None and outcome.state == "infeasible":  # it was never trained
                continue
            marks = read_marks(trial.job.directory)
            if not all(name in marks and marks[name]["ended"] for name in self.names):
                rows = read_epochs(trial.job.directory / "metrics.csv")
                if rows or outcome is not None:
                    self.queue.put((trial.job, rows, outcome, True))

    def close(self) -> None:
        self.catch_up()  # some trials end with the run, without an event
        self.queue.put(None)
        self.thread.join(FLUSH_SECONDS)
        self._report()
        if self.thread.is_alive():
            self._say("trackers have not taken everything yet; the next start of this run tells them the rest")

    def _job(self, event: Event) -> Job:
        return self.ledger.trial(int(event.trial)).job

    def _report(self) -> None:
        """Report errors in the driver's thread, as all events are."""
        for name, error in list(self.failed.items()):
            if name not in self.reported:
                self.reported.add(name)
                reason = masked(str(error).strip().partition("\n")[0])[:200] or type(error).__name__
                self._say(f"the tracker {name} failed; the run goes on without it, the next start catches up: {reason}")

    def _say(self, text: str) -> None:
        self.on_event(Event("message", data={"text": text}))

    # ------------------------------------------------------------------------------------------------------------------
    # The thread
    # ------------------------------------------------------------------------------------------------------------------
    def _work(self) -> None:
        trackers: dict[Name, Tracker] = {}
        active: dict[Name, dict[int, Job]] = {name: {} for name in self.names}  # begun and not left, by number
        while (told := self.queue.get()) is not None:
            for name in self.names:
                if name not in self.failed:
                    try:
                        if name not in trackers:
                            trackers[name] = TRACKERS[name](self.ledger.directory, self.run)
                        _tell(trackers[name], name, active[name], *told)
                    except BaseException as error:  # of a tracker; no signal is raised in this thread
                        self.failed[name] = error
        for name, tracker in trackers.items():
            for job in active[name].values():
                try:
                    tracker.leave(job)
                except BaseException as error:
                    self.failed.setdefault(name, error)


def _tell(
    tracker: Tracker,
    name: Name,
    active: dict[int, Job],
    job: Job,
    rows: list[dict[str, Any]],
    outcome: Outcome | None,
    rests: bool,
) -> None:
    """Tell one tracker what it does not know yet of a trial. If it fails, the mark is what it was before that call."""
    file = job.directory / MARKS
    marks = read_marks(job.directory)
    mark = marks.get(name, Mark(epochs=0, ended=False, run=None))
    new = [row for row in rows if row["epoch"] > mark["epochs"]]
    ends = outcome is not None and not mark["ended"]
    if (new or ends) and job.number not in active:
        mark["run"] = tracker.begin(job, mark["run"])
        active[job.number] = job

    def tell(changes: dict[str, Any], call: Callable[[], None]) -> None:
        nonlocal mark
        before, mark = mark, Mark(**{**mark, **changes})  # type: ignore[typeddict-item]
        write_json(file, marks | {name: mark})
        try:
            call()
        except BaseException:
            write_json(file, marks | {name: before})
            raise

    for row in new:
        epoch = int(row["epoch"])
        tell({"epochs": epoch}, partial(tracker.epoch, job, epoch, _numbers(row)))
    if outcome is not None and ends:
        tell({"ended": True}, partial(tracker.end, job, outcome))
    if rests and (mark["ended"] or tracker.reopens) and active.pop(job.number, None) is not None:
        tracker.leave(job)


def read_marks(directory: Path) -> dict[str, Mark]:
    """By tracker, from a trial's directory. Raises RunError for a damaged file: a tracker would be told twice."""
    return read_json(directory / MARKS, dict[str, Mark], "delete it to have the trackers told everything again") or {}


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: float(v) for key, v in row.items() if key != "epoch" and v is not None and math.isfinite(float(v))}
