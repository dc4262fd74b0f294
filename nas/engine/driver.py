"""The driver's state, told by callbacks what happens to trials: which run, what is issued next, what stops the run.

It knows nothing of Ray; nas/engine/ray_tune.py connects the two, and says at its head how trials are retried.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from nas.engine.events import Event, OnEvent
from nas.engine.job import Job, Outcome
from nas.engine.ledger import Ledger
from nas.engine.limits import Excess, Limits, Watch
from nas.engine.source import JobSource, Signal
from nas.errors import RunError, encodable
from nas.files import write_text
from nas.plugins import blamed

RETRIES = 1  # of a trial whose worker died, without an epoch in between


class Driver:
    """The driver's state: which trials are running, outcomes for the source, errors that stop the run."""

    def __init__(
        self,
        source: JobSource,
        ledger: Ledger,
        on_event: OnEvent,
        limits: Limits = Limits(),
    ):
        self.source, self.ledger, self.on_event = source, ledger, on_event
        self.watch = Watch(limits)
        self.exceeded: dict[str, Excess] = {}  # by trial whose worker is being killed
        self.resumed = deque(source.unfinished())
        self.live: dict[str, Job] = {}  # by id
        self.advanced: set[str] = set()  # have a new checkpoint since their worker started
        self.crowded: deque[Job] = deque()  # to be rerun exclusively
        self.alone: str | None = None  # the live job that runs exclusively
        self.done = False
        self.error: BaseException | None = None

    def __reduce__(self) -> tuple[type, tuple[()]]:
        """Pickles as an empty object: Tune pickles its Tuner for a restore, which is never used here."""
        return object, ()

    def next(self) -> Job | Signal:
        """The job for a worker that is free."""
        if self.error is not None:
            return Signal.DONE
        if self.alone is not None:
            return Signal.WAIT
        self.ledger.check_there()
        answer = self._asked()
        if not isinstance(answer, Job):
            if self.live:  # a live job may need a rerun
                return Signal.WAIT
            if self.crowded:
                answer = self.crowded.popleft()
                self.alone = answer.id
        if isinstance(answer, Job):
            self.live[answer.id] = answer
            self.advanced.discard(answer.id)
        return answer

    @property
    def at_end(self) -> bool:
        """Whether there is nothing left to do."""
        return self.done and not (self.live or self.resumed or self.crowded)

    def _asked(self) -> Job | Signal:
        if self.resumed:
            return self.resumed.popleft()
        answer = Signal.DONE if self.done else self.source.next()
        self.done = answer is Signal.DONE
        return answer

    def started(self, trial: str) -> None:
        job = self.live.get(trial)
        if job is None:  # retried by Tune, though its outcome arrived before its worker died
            return
        self.watch.begin(trial, job.directory)
        self.on_event(Event("started", trial, {"parameters": job.parameters, **job.costs}))

    def reported(self, trial: str, result: dict[str, Any]) -> None:
        self.ledger.check_there()
        if "alive" in result:
            self.watch.alive(trial, result["alive"])
        elif "row" in result:
            self.advanced.add(trial)
            self.watch.epoch(trial, result["row"].get("seconds", 0.0))
            self.on_event(Event("epoch", trial, result["row"]))
        elif "saved" in result:
            self.advanced.add(trial)
        elif trial not in self.live:  # a retry, though its outcome arrived before its worker died
            return
        elif "outcome" in result:
            self.ledger.fetch(self.live[trial])
            self.ended(trial, Outcome.from_dict(result["outcome"]))
        elif "crowded" in result:
            self.crowded.append(self._released(trial))
            text = f"trial {trial} is run again later, alone on its GPU: {result['crowded']}"
            self.on_event(Event("message", trial, {"text": text}))
        elif "unusable" in result:
            self._released(trial)
            raise RunError(result["unusable"], file=self.ledger.directory)

    def check_limits(self, kill: Callable[[str], None]) -> None:
        """`kill` the worker of each trial that exceeds a limit. `retried` or `died` is called when it is gone."""
        for trial, excess in self.watch.exceeding().items():
            self.exceeded[trial] = excess
            if excess.stalled:
                self.on_event(Event("message", trial, {"text": f"trial {trial} {excess.reason}; its worker is ended"}))
            kill(trial)

    def retried(self, trial: str) -> None:
        """The worker process died in the trial, and Tune starts it once more."""
        self.advanced.discard(trial)
        self.watch.end(trial)
        job, excess = self.live.get(trial), self.exceeded.pop(trial, None)
        if job is None:
            return
        self.ledger.fetch(job)
        if excess is not None and not excess.stalled:
            self._failed(job, excess.reason, excess.seconds)

    def died(self, trial: str, details: str) -> None:
        """The worker process died in the trial and again in its retry."""
        job, excess = self.live.get(trial), self.exceeded.pop(trial, None)
        if job is None:  # its outcome has been reported
            return
        self.ledger.fetch(job)
        if excess is not None and not excess.stalled:
            self._failed(job, excess.reason, excess.seconds)
        elif trial in self.advanced:
            (self.crowded if self.alone == trial else self.resumed).append(self._released(trial))
            self.alone = None  # an exclusive job is the only live one
        elif excess is not None:
            self._failed(job, f"{excess.reason}, after a retry", excess.seconds)
        else:
            times = f"{RETRIES + 1} times without an epoch in between (killed, out of memory, or crashed)"
            self._failed(job, f"the worker process died {times}: {_last(details)}", details=details)

    def _failed(self, job: Job, reason: str, seconds: float = 0.0, details: str | None = None) -> None:
        """Record a failure, unless the worker had recorded an outcome before it died."""
        from nas.train.checkpoint import TRANSIENT  # imports torch

        outcome = Outcome.read(job.directory)
        if outcome is None:
            outcome = Outcome.of(job, "failed", reason=reason, seconds=seconds)
            if details is not None:
                write_text(job.directory / "failure.txt", encodable(details))
        self.ended(job.id, outcome)
        for name in TRANSIENT:
            self.ledger.remove(job, name)

    def _released(self, trial: str) -> Job:
        """The job, which is no longer with a worker."""
        self.watch.end(trial)
        self.exceeded.pop(trial, None)
        return self.live.pop(trial)

    def ended(self, trial: str, outcome: Outcome) -> None:
        job = self._released(trial)
        self.alone = None
        if outcome.state != "paused":
            self.ledger.finish(job, outcome)
        self.source.tell(job, outcome)
        self.ledger.write_table(patience=20)
        self.on_event(Event("paused" if outcome.state == "paused" else "ended", trial, outcome.as_dict()))

    def guarded(self, call: Any, *arguments: Any) -> Any:
        """Keep an exception, which Tune would log and swallow: no more jobs are issued, and `run` raises it.

        One of a plug-in's code becomes a SpecError; SystemExit, too, which would end the command as if all were well.
        """
        try:
            return call(*arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.error = self.error or blamed(error) or error
        return Signal.DONE


def _last(details: str) -> str:
    lines = [line.strip() for line in details.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"
