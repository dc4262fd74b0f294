"""The engine's clients, seen from the engine: a search, an ablation, a test."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from nas.engine.job import Job, Outcome


class Signal(Enum):
    """A source's answer where it has no job: nothing until another outcome is known, or nothing any more."""

    WAIT = "wait"
    DONE = "done"


class Source(Protocol):
    """Hands out jobs (trial directories made by `Ledger.add`) and hears what came of each.

    All methods are called in the driver, one at a time. `unfinished`, asked once at the start, lists the jobs that an
    earlier session handed out and of which nothing came; they are run first, and `tell` hears of them all the same.
    A job with `until` may come back `paused`, and be handed out again.
    """

    def unfinished(self) -> list[Job]: ...

    def next(self) -> Job | Signal: ...

    def tell(self, job: Job, outcome: Outcome) -> None: ...
