"""What a fidelity scheduler is, and the registry that schedulers join.

A new scheduler is one file:

    @SCHEDULERS.add("median")
    class MedianStopping(Scheduler):
        class Options(SchedulerOptions):
            grace: int = 1
        ...

From then on `scheduler: {name: median, grace: 3}` is valid in every space, and
tests/search/test_scheduler_conformance.py tests it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from nas.registry import Registry
from nas.search.options import PluginOptions, parse_options


class SchedulerOptions(PluginOptions):
    """Options of a scheduler; its own are in its subclass."""


class Scheduler(ABC):
    """Decides how many epochs each trial is trained before it pauses, and which paused trials are promoted.

    A trial is a number. `until` is the number of epochs after which it pauses, or None: it is trained to its end. A
    trial that is paused when the search ends is pruned. Methods that are not abstract have the defaults of a scheduler
    that never pauses a trial.

    Decisions are a function of the options, `epochs` and the calls so far. So a scheduler that is rebuilt from a
    ledger, by the same calls, makes the same decisions.

    epochs: of the whole training. Raises SpaceError, with the key path below `scheduler`, if the options do not fit it.
    """

    Options: ClassVar[type[SchedulerOptions]] = SchedulerOptions
    adaptive: ClassVar[bool] = False  # whether trials pause, so that it is worth waiting for those that are running
    repeats: ClassVar[bool] = True  # whether it goes with `repeat`: several trainings per genome

    def __init__(self, options: SchedulerOptions, epochs: int):
        self.epochs = epochs

    @abstractmethod
    def start(self) -> int | None:
        """`until` of a new trial."""

    @abstractmethod
    def mean_epochs(self) -> float:
        """Epochs per trial, on average over a long search."""

    def pause(self, number: int, until: int, point_M: np.ndarray) -> None:  # noqa: B027
        """A trial has paused. point_M: one cost per objective, less is better."""

    def promote(self) -> tuple[int, int | None] | None:
        """The paused trial that is to continue next, and its new `until`; None if none is. Each is returned once."""
        return None

    def looks_final(self, number: int, until: int) -> bool:
        """Whether a trial that paused at `until` would not be promoted, by what is known now."""
        return False

    def withdraw(self, number: int) -> None:  # noqa: B027
        """A paused trial that an earlier session has pruned: it is never promoted, but still compared with."""

    def reason(self, epochs: int) -> str:
        """Why a trial that paused after `epochs` was pruned, as trials.csv has it."""
        return f"paused after {epochs} epochs"


SCHEDULERS: Registry[type[Scheduler]] = Registry("scheduler", "nas.search.schedulers")


def scheduler_options(given: Any) -> SchedulerOptions:
    """Validated options. Raises SpaceError with the key path below `scheduler`.

    >>> scheduler_options({"name": "halving", "first": 2})
    """
    options: SchedulerOptions = parse_options(SCHEDULERS, given, default="full")
    return options


def make_scheduler(options: SchedulerOptions, epochs: int) -> Scheduler:
    """The scheduler that the options name."""
    return SCHEDULERS[options.name](options, epochs)
