"""The interface and registry of fidelity schedulers.

A new scheduler is one file:

    @SCHEDULERS.add("median")
    class MedianStopping(Scheduler):
        class Options(SchedulerOptions):
            grace: int = 1
        ...

`scheduler: {name: median, grace: 3}` is then valid in every space, and tested by
tests/search/test_scheduler_conformance.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from nas.errors import SpaceError, SpecError, shown
from nas.registry import Registry
from nas.search.options import PluginOptions, parse_options


class SchedulerOptions(PluginOptions):
    """Options of a scheduler; subclasses add their own."""


class Scheduler(ABC):
    """Decides how many epochs each trial is trained before it pauses, and which paused trials are promoted.

    Trials are identified by number. `until` is the number of epochs after which a trial pauses; None: it is trained to
    its end. A trial that is paused when the search ends is pruned. Methods that are not abstract default to those of a
    scheduler that never pauses a trial.

    Decisions are a function of the options, `epochs` and the calls so far: replaying the calls from a ledger gives the
    same decisions.

    epochs: of the whole training. Raises SpaceError, with the key path below `scheduler`, if the options do not fit.
    """

    Options: ClassVar[type[SchedulerOptions]] = SchedulerOptions
    adaptive: ClassVar[bool] = False  # whether trials may pause; if so, the search waits for running ones
    repeats: ClassVar[bool] = True  # whether it supports `repeat`: several trainings per genome

    def __init__(self, options: SchedulerOptions, epochs: int):
        self.epochs = epochs

    @abstractmethod
    def start(self) -> int | None:
        """`until` of a new trial."""

    @abstractmethod
    def mean_epochs(self) -> float:
        """Mean epochs per trial over a long search."""

    def pause(self, number: int, until: int, point_M: np.ndarray) -> None:  # noqa: B027
        """A trial has paused. point_M: one cost per objective, less is better."""

    def promote(self) -> tuple[int, int | None] | None:
        """The paused trial to continue next and its new `until`, or None. Each promotion is returned once."""
        return None

    def looks_final(self, number: int, until: int) -> bool:
        """Whether a trial that paused at `until` would not be promoted, given the calls so far."""
        return False

    def withdraw(self, number: int) -> None:  # noqa: B027
        """Exclude a trial pruned by an earlier session from promotion; it still counts in comparisons."""

    def reason(self, epochs: int) -> str:
        """Why a trial that paused after `epochs` was pruned, for trials.csv."""
        return f"paused after {epochs} epochs"


SCHEDULERS: Registry[type[Scheduler]] = Registry("scheduler", "nas.search.schedulers")


def scheduler_options(given: Any) -> SchedulerOptions:
    """Validated options. Raises SpaceError with the key path below `scheduler`.

    >>> scheduler_options({"name": "halving", "first": 2})
    """
    options: SchedulerOptions = parse_options(SCHEDULERS, given, default="full")
    return options


def make_scheduler(options: SchedulerOptions, epochs: int) -> Scheduler:
    """The scheduler named by the options."""
    return SCHEDULERS[options.name](options, epochs)


def with_scheduler(data: dict[str, Any]) -> dict[str, Any]:
    """Plain data of a space with `halving: {first: 1}`, which is short for `scheduler: {name: halving, first: 1}`.

    `halving: null` turns that scheduler off.
    """
    short, given = data["halving"], data.get("scheduler", {})
    given = {"name": given} if isinstance(given, str) else given
    if short is None:
        scheduler = scheduler_options({} if given.get("name") == "halving" else given)
    elif given.get("name", "halving") != "halving":
        raise SpaceError("it is short for `scheduler: {name: halving}`; leave one of them out", path="halving")
    elif not isinstance(short, dict):
        raise SpaceError(f"expected a mapping such as {{first: 1, factor: 3}}, found {shown(short)}", path="halving")
    else:
        try:
            scheduler = scheduler_options(given | short | {"name": "halving"})
        except SpecError as error:
            raise error.within(path="halving") from None
    return {key: value for key, value in data.items() if key != "halving"} | {"scheduler": scheduler}
