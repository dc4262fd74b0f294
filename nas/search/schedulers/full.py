"""No early stopping: all trials train to their end."""

from __future__ import annotations

from nas.search.schedulers.base import SCHEDULERS, Scheduler


@SCHEDULERS.add("full")
class FullTraining(Scheduler):
    """Nothing pauses."""

    def start(self) -> None:
        return None

    def mean_epochs(self) -> float:
        return self.epochs
