"""The event stream of a run, for progress displays and logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Event:
    """`trial` is a trial's id, or empty.

    message     data: text                                  for the user
    resumed     data: table, of the trials that are there   before the first training of a run that goes on, and of a
                                                            baseline, whose trials have numbers of their own
    refused     data: the outcome (infeasible) as a dict    not trained
    started     data: parameters, and costs by metric       training begins or resumes
    epoch       data: the row of metrics.csv
    paused      data: the outcome as a dict                 training may resume later
    ended       data: the outcome as a dict                 complete, pruned or failed
    """

    kind: Literal["message", "resumed", "refused", "started", "epoch", "paused", "ended"]
    trial: str = ""
    data: dict[str, Any] = field(default_factory=dict)


OnEvent = Callable[[Event], None]


def both(first: OnEvent, second: OnEvent) -> OnEvent:
    """A listener that forwards every event to two others."""

    def on_event(event: Event) -> None:
        first(event)
        second(event)

    return on_event


def ignore(event: Event) -> None:
    """A listener that does nothing."""
