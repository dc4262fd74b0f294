"""The interface between the engine and its clients: a search, an ablation, a test."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from nas.engine.job import Job, Outcome


class Signal(Enum):
    """Returned instead of a job. WAIT: no job until the next outcome arrives. DONE: no further jobs."""

    WAIT = "wait"
    DONE = "done"


class JobSource(Protocol):
    """Issues jobs (trial directories made by `Ledger.add`) and receives their outcomes.

    All methods are called in the driver, one at a time. `unfinished` is called once at the start: it lists the jobs
    that an earlier session left without an outcome. They are run first, and their outcomes are passed to `tell`.
    A job with `until` may end as `paused`, and be issued again.
    """

    def unfinished(self) -> list[Job]: ...

    def next(self) -> Job | Signal: ...

    def tell(self, job: Job, outcome: Outcome) -> None: ...
