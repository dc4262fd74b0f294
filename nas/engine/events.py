"""What a run tells while it goes on: one stream of events, for progress displays and logs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Event:
    """`trial` is a trial's id, or empty.

    message     data: text                                  something a person should know
    refused     data: the outcome (infeasible) as a dict    no worker was asked
    started     data: parameters, and costs by metric       training begins, or goes on after an interruption
    epoch       data: the row of metrics.csv
    paused      data: the outcome as a dict                 training may go on later
    ended       data: the outcome as a dict                 complete, pruned or failed
    """

    kind: Literal["message", "refused", "started", "epoch", "paused", "ended"]
    trial: str = ""
    data: dict[str, Any] = field(default_factory=dict)


OnEvent = Callable[[Event], None]


def both(first: OnEvent, second: OnEvent) -> OnEvent:
    """A listener that hands every event to two."""

    def on_event(event: Event) -> None:
        first(event)
        second(event)

    return on_event


def ignore(event: Event) -> None:
    """For callers who do not watch."""
