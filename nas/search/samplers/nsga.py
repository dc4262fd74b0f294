"""NSGA-II (Deb et al., 2002) and NSGA-III (Deb & Jain, 2014), at constant cost per suggestion.

Optuna's implementations. Optuna 5 scans all trials of a study several times per suggestion, for the current generation,
its members and its parents, and the parameters common to all trials. The total cost is quadratic in the number of
trials. Here a `Memory`, updated with each ended trial, caches these across suggestions, each of which uses a fresh
sampler. The suggestions are identical (tests/search/test_nsga.py).
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from nas.search.samplers.base import SAMPLERS, SamplerOptions
from nas.search.samplers.optuna_base import OptunaSampler, distribution, stored_all
from nas.search.space import Assignment, SearchSpace

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

GENERATION = "generation"  # the attribute of a trial with its generation


class Memory:
    """The members of each generation, and its parents. common: the distributions that all trials have."""

    def __init__(self, common: dict[str, BaseDistribution]):
        self.common = common
        self.members: dict[int, list[FrozenTrial]] = defaultdict(list)
        self.parents: dict[int, list[FrozenTrial]] = {0: []}

    def add(self, trial: FrozenTrial) -> None:
        """Add a COMPLETE trial; others belong to no generation."""
        self.members[trial.system_attrs[GENERATION]].append(trial)


class GeneticSampler(OptunaSampler):
    """`kind` is the name of Optuna's class."""

    class Options(SamplerOptions):
        population: int | None = Field(None, ge=2, le=1_000_000, description="null: a fifth of the trials, 8 to 50")

        def settled(self, *, trials: int, slots: int) -> Self:
            population = self.population or min(50, max(8, trials // 5))
            return super().settled(trials=trials, slots=slots).model_copy(update={"population": population})

    options: Options
    kind: ClassVar[str]

    def __init__(self, options: SamplerOptions, space: SearchSpace, objectives: list[str], *, seed: int):
        super().__init__(options, space, objectives, seed=seed)
        unconditional = sorted((p for p in space.parameters if not p.conditions), key=lambda parameter: parameter.path)
        found = {parameter.path: distribution(parameter) for parameter in unconditional}
        self._memory = Memory({path: known for path, known in found.items() if not known.single()})

    def optuna_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NSGA-III is marked experimental
            return with_memory(self.kind, self._memory, population=self.options.population or 50, seed=seed)

    def _adopt(self, assignment: Assignment, draw: int) -> optuna.Trial:
        self.study.enqueue_trial(stored_all(self.space, assignment))
        trial = self._new_trial(draw)
        _ = trial.relative_params  # first access also computes the trial's generation
        self.space.assign(lambda parameter: self._suggest(trial, parameter))
        return trial

    def _ended(self, trial: FrozenTrial) -> None:
        self._memory.add(trial)


@SAMPLERS.add("nsga2")
class NSGA2Sampler(GeneticSampler):
    kind = "NSGAIISampler"


@SAMPLERS.add("nsga3")
class NSGA3Sampler(GeneticSampler):
    kind = "NSGAIIISampler"


def with_memory(kind: str, memory: Memory, *, population: int, seed: int) -> optuna.samplers.BaseSampler:
    """Optuna's sampler `kind`, reading from the memory instead of the study.

    >>> with_memory("NSGAIISampler", memory, population=50, seed=0)
    """
    sampler: Any = _class_with_memory(kind)(seed=seed, population_size=population)
    sampler.memory = memory
    made: optuna.samplers.BaseSampler = sampler
    return made


@cache
def _class_with_memory(kind: str) -> Any:
    from optuna import samplers

    return type(kind, (_AnswersFromMemory, getattr(samplers, kind)), {})


class _AnswersFromMemory:
    """Overrides methods of optuna.samplers.BaseGASampler that would scan the study."""

    memory: Memory
    population_size: int

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.memory.common

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        newest = max(self.memory.members, default=0)
        generation = newest + (len(self.memory.members[newest]) >= self.population_size)
        study._storage.set_trial_system_attr(trial._trial_id, GENERATION, generation)
        return generation

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        return sorted(self.memory.members[generation], key=lambda trial: trial.number)

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        known = self.memory.parents.get(generation)
        if known is not None:
            return known
        chosen: list[FrozenTrial] = self.select_parent(study, generation)  # type: ignore[attr-defined]
        self.memory.parents[generation] = sorted(chosen, key=lambda trial: trial.number)
        return chosen  # in order of selection on the first call, as in Optuna
