"""Candidates of a sampler that chooses among many: assignments with their features and exact costs.

All assignments of a space that has at most `size`. Of a larger one, `size` random ones, a few of which are replaced
with each draw, and mutations of given trials. A mutation gives one or more parameters another value; a continuous one
moves a little or is drawn anew.

A candidate is a function of the seed and of its source: the number of a random draw, or a trial and the number of its
mutation. So a pool that is made again holds the same ones, and those that stay are computed once (0.4 ms each: editing
the genome takes most of it).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from random import Random

import numpy as np

from nas.errors import GenomeError
from nas.metrics import Costs, Estimate
from nas.search.budget import Budget
from nas.search.parameter import Parameter, Value, label
from nas.search.space import Assignment, SearchSpace
from nas.search.surrogate import Encoding, place
from nas.seeds import derive

FRESH = 4  # random candidates that a draw replaces
MUTATIONS = 12  # of a trial, at a time
SLOWER = 4  # draws until a trial has another mutation in place of its oldest
STEP = 0.15  # standard deviation of a small move, relative to the range


@dataclass(frozen=True)
class Candidate:
    """costs: what is known before training. excess: the largest relative violation of the budget, at most 0 within."""

    assignment: Assignment
    key: str
    row_D: np.ndarray
    costs: Costs
    excess: float


class Pool:
    """See the head of this file. estimate, budget: of the search.

    >>> pool = Pool(space, Encoding(space.parameters), estimator(), Budget(macs=1e6), size=2000, seed=0)
    >>> pool.candidates(draw=12, parents={3: {"stages.0.split": 2}})
    """

    def __init__(
        self, space: SearchSpace, encoding: Encoding, estimate: Estimate, budget: Budget, *, size: int, seed: int
    ):
        self.space, self.encoding, self.estimate, self.budget = space, encoding, estimate, budget
        self.size, self.seed = size, seed
        first = list(islice(space.every(), size + 1)) if space.finite else []
        self._every = first if 0 < len(first) <= size else None
        self._parents: dict[int, Assignment] = {}
        self._numbered = lru_cache(2 * size)(lambda index: self.of(self._assignment(index)))
        self._mutated = lru_cache(2 * size)(lambda parent, index: self.of(self._mutation(parent, index)))

    def candidates(self, draw: int, parents: dict[int, Assignment]) -> list[Candidate]:
        """All that are valid, also over the budget. parents: trials to mutate, by number."""
        if self._every is not None:
            found = [self._numbered(index) for index in range(len(self._every))]
        else:
            found = [self._numbered(index) for index in range(FRESH * draw, FRESH * draw + self.size)]
            self._parents |= parents
            recent = range(draw // SLOWER, draw // SLOWER + MUTATIONS)
            found += [self._mutated(parent, index) for parent in parents for index in recent]
        return list({candidate.key: candidate for candidate in found if candidate is not None}.values())

    def of(self, assignment: Assignment) -> Candidate | None:
        """The candidate of an assignment; None if its values are not valid in combination."""
        try:
            costs = self.estimate(self.space.genome(assignment))
        except GenomeError:
            return None
        excess = max(self.budget.violations(costs).values(), default=-1.0)
        return Candidate(assignment, key_of(assignment), self.encoding.row(assignment), costs, excess)

    def _assignment(self, index: int) -> Assignment:
        if self._every is not None:
            return self._every[index]
        return self.space.draw(Random(derive(self.seed, "pool", index)))

    def _mutation(self, parent: int, index: int) -> Assignment:
        rng, before = Random(derive(self.seed, "mutate", parent, index)), self._parents[parent]
        changed = {rng.choice(list(before))}
        while rng.random() < 0.5:
            changed.add(rng.choice(self.space.parameters).path)

        def choose(parameter: Parameter) -> Value:
            if parameter.path not in before:  # active now
                return parameter.at(rng.random())
            value = before[parameter.path]
            return _moved(parameter, value, rng) if parameter.path in changed else value

        return self.space.assign(choose)


def key_of(assignment: Assignment) -> str:
    """An assignment as text: equal for equal ones."""
    return ";".join(f"{path}={label(value)}" for path, value in sorted(assignment.items()))


def _moved(parameter: Parameter, value: Value, rng: Random) -> Value:
    """Another value; a continuous one moves a little or is drawn anew."""
    if parameter.values is None:
        near = rng.random() < 0.5
        at = place(parameter, value) + rng.gauss(0, STEP) if near else rng.random()
        return parameter.at(min(max(at, 0.0), 1.0))
    others = [other for other in parameter.values if other != value]
    return rng.choice(others) if others else value
