"""Optuna's genetic samplers, at a cost per suggestion that does not grow with the number of trials.

Optuna 5 goes through all trials of a study several times a suggestion: to find the current generation, to collect its
members and its parents, and the parameters that all trials have in common. Ten thousand trials are then quadratic. Here
a `Memory` outlives the samplers (there is a fresh one for every suggestion), is told of each trial that ends, and
answers these questions; what is suggested is the same (tests/search/test_generations.py). The four methods are those
that optuna.samplers.BaseGASampler has for its subclasses.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler
from optuna.trial import FrozenTrial, TrialState

Distributions = dict[str, BaseDistribution]
GENERATION = "generation"  # the attribute in which a trial keeps its own


class Memory:
    """Who belongs to which generation, and who its parents are. common: what all trials have as parameters."""

    def __init__(self, common: Distributions):
        self.common = common
        self.members: dict[int, list[FrozenTrial]] = defaultdict(list)
        self.parents: dict[int, list[FrozenTrial]] = {0: []}

    def add(self, trial: FrozenTrial) -> None:
        """A trial that has ended; only complete ones count."""
        if trial.state == TrialState.COMPLETE:
            self.members[trial.system_attrs[GENERATION]].append(trial)


class _Remembering:
    """The questions of `optuna.samplers.BaseGASampler`, answered from memory."""

    memory: Memory
    population_size: int

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        return self.memory.common

    def get_trial_generation(self, study: Study, trial: FrozenTrial) -> int:
        newest = max(self.memory.members, default=0)
        generation = newest + (len(self.memory.members[newest]) >= self.population_size)
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, generation)
        return generation

    def get_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(self.memory.members[generation], key=lambda trial: trial.number)

    def get_parent_population(self, study: Study, generation: int) -> list[FrozenTrial]:
        known = self.memory.parents.get(generation)
        if known is not None:
            return known
        chosen = self.select_parent(study, generation)  # type: ignore[attr-defined]
        self.memory.parents[generation] = sorted(chosen, key=lambda trial: trial.number)
        return chosen  # in the order of its selection the first time, as Optuna has it


class _NSGAII(_Remembering, NSGAIISampler): ...  # type: ignore[misc]


class _NSGAIII(_Remembering, NSGAIIISampler): ...  # type: ignore[misc]


def genetic(name: str, memory: Memory, *, population: int, seed: int) -> BaseSampler:
    """`nsga2` or `nsga3`, for one suggestion.

    >>> genetic("nsga2", memory, population=50, seed=0)
    """
    made: Any = {"nsga2": _NSGAII, "nsga3": _NSGAIII}[name](seed=seed, population_size=population)
    made.memory = memory
    return made
