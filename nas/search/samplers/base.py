"""The sampler interface and registry.

A new sampler is one file:

    @SAMPLERS.add("antithetic")
    class AntitheticSampler(Sampler):
        class Options(SamplerOptions):
            pairs: int = 2

        def ask(self, draw: int) -> Assignment: ...

`sampler: {name: antithetic, pairs: 3}` is then valid in every space, and tested by
tests/search/test_sampler_conformance.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

from pydantic import Field

from nas.engine import Outcome
from nas.metrics import Estimate
from nas.registry import Registry
from nas.search.budget import Budget
from nas.search.options import PluginOptions, parse_options
from nas.search.space import Assignment, SearchSpace


class SamplerOptions(PluginOptions):
    """Options common to all samplers; subclasses add their own.

    lag: suggestion n depends on the outcomes of all trials but the `lag` most recent ones, in whatever order workers
    finish, so the search is determined by the seed. null: twice the number of workers.
    """

    lag: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="latest trainings that a suggestion does not know of; null: twice the number of workers",
    )

    def settled(self, *, trials: int, slots: int) -> Self:
        """A copy with values for all open options. Called when a run starts, and kept for all its sessions.

        trials: of the search. slots: the number of concurrent workers.
        """
        return self.model_copy(update={"lag": 2 * slots if self.lag is None else self.lag})


class Sampler(ABC):
    """Suggests assignments.

    `ask` suggests one. If it becomes a trial, `accept` follows, and `tell` once the trial has ended; if not (its genome
    is already known), the next call is another `ask`. Trials not suggested by the sampler (the base genome, those of an
    earlier session or run) are accepted without an `ask`, in order of number. A trial reported as pruned may be
    accepted and reported again, if it was promoted after all.

    Suggestions are a function of the options, the space, the seed, `draw` and all `accept` and `tell` calls so far. A
    sampler that is rebuilt from a ledger therefore continues the same sequence.

    objectives: names of metrics, in the order of the space. seed: of the search; a sampler derives its own from it.
    """

    Options: ClassVar[type[SamplerOptions]] = SamplerOptions
    adaptive: ClassVar[bool] = False  # whether suggestions depend on outcomes; if so, the search waits for them (lag)
    ends: ClassVar[bool] = False  # whether it enumerates the space: `ask` is repeated until it returns None

    def __init__(self, options: SamplerOptions, space: SearchSpace, objectives: list[str], *, seed: int):
        self.options, self.space, self.objectives, self.seed = options, space, objectives, seed

    @classmethod  # noqa: B027
    def check(cls, space: SearchSpace) -> None:
        """Raise SpaceError for a space that the sampler does not support. Called before a run begins."""

    def prepare(self, estimate: Estimate, budget: Budget) -> None:  # noqa: B027
        """What is known of any genome before it is trained: its costs, and what a budget refuses.

        Called once, before any other call.
        """

    @abstractmethod
    def ask(self, draw: int) -> Assignment | None:
        """Suggestion number `draw`: 0, 1, 2, ... with gaps after a resume. None: no further suggestions.

        Values are plain data: numbers of NumPy and torch are refused.
        """

    def accept(self, number: int, assignment: Assignment, draw: int, margin: float) -> None:  # noqa: B027
        """The assignment has become trial `number`.

        draw: number of the suggestion, -1 if it was not suggested. margin: the largest relative violation of a budget:
        positive for a refused trial, -1 if there is no budget.
        """

    def tell(self, number: int, outcome: Outcome) -> None:  # noqa: B027
        """The outcome of an accepted trial: complete, pruned, failed or infeasible."""


SAMPLERS: Registry[type[Sampler]] = Registry("sampler", "nas.search.samplers")


def sampler_options(given: Any) -> SamplerOptions:
    """Validated options. Raises SpaceError with the key path below `sampler`.

    >>> sampler_options({"name": "tpe", "startup": 4})
    """
    options: SamplerOptions = parse_options(SAMPLERS, given, default="cost_aware")
    return options


def make_sampler(options: SamplerOptions, space: SearchSpace, objectives: list[str], *, seed: int) -> Sampler:
    """The sampler named by the options."""
    return SAMPLERS[options.name](options, space, objectives, seed=seed)
