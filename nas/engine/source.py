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

    Both methods are called in the driver, one at a time. Jobs that the ledger already has and that have not ended are
    run first, without `next` being asked for them; `tell` hears of them all the same.
    """

    def next(self) -> Job | Signal: ...

    def tell(self, job: Job, outcome: Outcome) -> None: ...
