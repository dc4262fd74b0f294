"""Trains genomes in trial directories: the ledger on disk, the worker, and Ray Tune, which runs the workers.

Training itself is done by a `Work`, usually `nas.engine.training.TrainJob`. Ray is imported when `run` or `session`
is first used, torch by the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.engine.events import Event, OnEvent
from nas.engine.job import Job, Outcome
from nas.engine.ledger import Ledger, Trial
from nas.engine.limits import Limits
from nas.engine.pool import Pool, Workers, pool_on, session
from nas.engine.runs import Run
from nas.engine.source import JobSource, Signal

if TYPE_CHECKING:
    from nas.engine.ray_tune import run

__all__ = [
    "Event",
    "Job",
    "JobSource",
    "Ledger",
    "Limits",
    "OnEvent",
    "Outcome",
    "Pool",
    "Run",
    "Signal",
    "Trial",
    "Workers",
    "pool_on",
    "run",
    "session",
]


def __getattr__(name: str) -> Any:
    if name == "run":
        from nas.engine.ray_tune import run

        return run
    raise AttributeError(f"module 'nas.engine' has no attribute {name!r}")
