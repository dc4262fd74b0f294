"""Thompson sampling with exact costs: accuracy is drawn from a model; MACs and the like are computed, never modelled.

Of every objective that only a training tells, a function is drawn from the posterior given the outcomes so far
(nas/search/surrogate.py) and taken as the truth. The suggestion is the untried genome within the budget that adds most
hypervolume to the front of those tried. (Thompson, Biometrika 1933; for several objectives Bradford et al., "Efficient
multiobjective optimization employing Gaussian processes, spectral sampling and a genetic algorithm", Journal of Global
Optimization 2018, where costs are modelled as well.)

- Trials, also running ones, are on that front with what the draw says of them, and each suggestion has a draw of its
  own. So parallel workers are sent to different places, and a lucky seed does not end the search around it.
- Candidates are all genomes of a small space, or a pool (nas/search/pool.py).
- A failed trial counts as the worst outcome so far. A pruned trial counts with the number of its epochs.
- The first `startup` trials are those of `random`, within the budget.
- Beyond `POINTS` outcomes, the model sees the best and as many of the others. How much pairs and noise matter is
  weighed again whenever there are a tenth more complete trials.

Legend: N trials, C candidates, D features, M objectives, F points of a front.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import moocore
import numpy as np
from pydantic import Field

from nas.engine import Outcome
from nas.metrics import Costs, Estimate, signs
from nas.search.budget import Budget
from nas.search.pareto import hypervolume, non_dominated, reference_of
from nas.search.pool import Candidate, Pool, key_of
from nas.search.samplers.base import SAMPLERS, Sampler, SamplerOptions
from nas.search.space import Assignment, SearchSpace
from nas.search.surrogate import Encoding, Function, Posterior
from nas.seeds import derive

POINTS = 384  # outcomes that the model sees
PARENTS = 24  # trials that are mutated
GROWTH = 1.1  # of the number of complete trials, until pairs and noise are weighed again
ATTEMPTS = 100  # random draws until one is within the budget


@SAMPLERS.add("cost_aware")
class CostAwareSampler(Sampler):
    class Options(SamplerOptions):
        startup: int = Field(10, ge=1, le=1_000_000, description="random trials before outcomes are looked at")
        pool: int = Field(2000, ge=10, le=1_000_000, description="random candidates at a time in a large space")

    options: Options
    adaptive = True

    def __init__(self, options: SamplerOptions, space: SearchSpace, objectives: list[str], *, seed: int):
        super().__init__(options, space, objectives, seed=seed)
        self._signs_M = signs(objectives)
        self._encoding = Encoding(space.parameters)
        self._assignments: dict[int, Assignment] = {}  # of every trial
        self._rows: dict[int, np.ndarray] = {}
        self._nearest: dict[int, float] = {}  # the trial that exceeds the budget least, with its margin
        self._tried: set[str] = set()
        self._running: set[int] = set()
        self._told: list[tuple[int, Outcome]] = []  # but for refused ones
        self._passed: set[str] = set()  # suggested since the last trial began
        self._cells: tuple[int, dict[int, np.ndarray]] = (0, {})  # by objective, after so many complete trials

    def prepare(self, estimate: Estimate, budget: Budget) -> None:
        size, seed = self.options.pool, derive(self.seed, "pool")
        self._pool = Pool(self.space, self._encoding, estimate, budget, size=size, seed=seed)
        known = estimate(self.space.base)
        self._modelled = [column for column, name in enumerate(self.objectives) if name not in known]

    def accept(self, number: int, assignment: Assignment, draw: int, margin: float) -> None:
        self._assignments[number], self._rows[number] = assignment, self._encoding.row(assignment)
        self._tried.add(key_of(assignment))
        self._running.add(number)
        self._passed.clear()
        if not self._nearest or margin < min(self._nearest.values()):
            self._nearest = {number: margin}

    def tell(self, number: int, outcome: Outcome) -> None:
        self._running.discard(number)
        if outcome.state != "infeasible":
            self._told.append((number, outcome))

    def ask(self, draw: int) -> Assignment:
        outcomes = dict(self._told)
        complete = [number for number, outcome in outcomes.items() if outcome.state == "complete"]
        trained = len(outcomes) + len(self._running - outcomes.keys())
        if trained < self.options.startup or 2 * len(complete) < self.options.startup:
            chosen = self._at_random(draw)
        else:
            chosen = self._best(draw, outcomes, complete)
        self._passed.add(key_of(chosen))
        return chosen

    def _at_random(self, draw: int) -> Assignment:
        """A random assignment within the budget; where these are rare, the nearest to it."""
        rng = Random(derive(self.seed, "suggest", draw))
        first = self.space.draw(rng)
        if not self._pool.budget.limits:
            return first
        for drawn in [first, *(self.space.draw(rng) for _ in range(ATTEMPTS))]:
            candidate = self._pool.of(drawn)
            if candidate is not None and candidate.excess <= 0:
                return drawn
        parents = {number: self._assignments[number] for number in self._nearest}
        untried = self._untried(draw, parents)
        return min(untried, key=lambda candidate: candidate.excess).assignment if untried else first

    def _untried(self, draw: int, parents: dict[int, Assignment]) -> list[Candidate]:
        found = self._pool.candidates(draw, parents)
        return [one for one in found if one.key not in self._tried and one.key not in self._passed]

    def _best(self, draw: int, outcomes: dict[int, Outcome], complete: list[int]) -> Assignment:
        """The candidate that adds most under one draw of the model."""
        untried = self._untried(draw, self._parents(outcomes, complete))
        within = [candidate for candidate in untried if candidate.excess <= 0]
        if not within:
            return self._at_random(draw)
        rng = np.random.default_rng(derive(self.seed, "suggest", draw))
        functions = self._functions(outcomes, rng)
        costs_CM = drawn_points([c.row_D for c in within], [c.costs for c in within], functions, self.objectives)
        running = [(self._rows[n], self._pool.of(self._assignments[n])) for n in sorted(self._running)]
        rows = [self._rows[number] for number in complete] + [row_D for row_D, _ in running]
        known = [outcomes[number].costs for number in complete] + [c.costs if c else {} for _, c in running]
        tried_NM = drawn_points(rows, known, functions, self.objectives)
        return within[adding_most(costs_CM, tried_NM, rng)].assignment

    def _parents(self, outcomes: dict[int, Outcome], complete: list[int]) -> dict[int, Assignment]:
        """The best trials, by the rank of what was found: the front, the front without it, and so on."""
        found = [[outcomes[number].value(name) for name in self.objectives] for number in complete]
        costs_NM = np.array(found, float) * self._signs_M
        best = np.argsort(moocore.pareto_rank(costs_NM), kind="stable")[:PARENTS]
        return {complete[index]: self._assignments[complete[index]] for index in best}

    def _functions(self, outcomes: dict[int, Outcome], rng: np.random.Generator) -> dict[int, Function]:
        """A draw of each modelled objective, by column."""
        ends = [index for index, (_, outcome) in enumerate(self._told, start=1) if outcome.state == "complete"]
        mark = _mark(len(ends))
        if self._cells[0] != mark:
            earlier = dict(self._told[: ends[mark - 1]])
            self._cells = mark, {column: self._posterior(earlier, column).cells() for column in self._modelled}
        return {c: self._posterior(outcomes, c).draw(rng, self._cells[1][c]) for c in self._modelled}

    def _posterior(self, outcomes: dict[int, Outcome], column: int) -> Posterior:
        name, sign = self.objectives[column], self._signs_M[column]
        values = {n: sign * value for n, outcome in outcomes.items() if (value := outcome.value(name)) is not None}
        complete = [value for number, value in values.items() if outcomes[number].state == "complete"]
        values |= {n: max(complete) for n, outcome in outcomes.items() if outcome.state == "failed" and complete}
        numbers = sorted(values)
        values_N = np.array([values[number] for number in numbers])
        levels_N = np.array([outcomes[n].epochs if outcomes[n].state == "pruned" else np.inf for n in numbers])
        kept_N = _kept(values_N, levels_N)
        rows_ND = np.stack([self._rows[numbers[index]] for index in kept_N])
        return Posterior(rows_ND, values_N[kept_N], levels_N[kept_N])


def _mark(count: int) -> int:
    """The largest number up to `count` of the sequence 1, 2, 3, ..., 20, 22, 24, ..., in which each grows by GROWTH."""
    mark = 1
    while (later := max(mark + 1, int(GROWTH * mark))) <= count:
        mark = later
    return mark


def _kept(values_N: np.ndarray, levels_N: np.ndarray) -> np.ndarray:
    """At most `POINTS` outcomes: the best, those of the longest trainings first, and as many of the others, evenly."""
    count = len(values_N)
    if count <= POINTS:
        return np.arange(count)
    order_N = np.lexsort((values_N, -levels_N))
    others_N = np.sort(order_N[POINTS // 2 :])
    return np.concatenate([order_N[: POINTS // 2], others_N[:: -(-len(others_N) // (POINTS // 2))]])


def adding_most(costs_CM: np.ndarray, tried_NM: np.ndarray, rng: np.random.Generator) -> int:
    """The candidate that adds most hypervolume to the front of what was tried; if none adds any, one of the candidates'
    own front, on which the one that adds most is as well."""
    own_F = np.flatnonzero(non_dominated(costs_CM))
    front_FM = tried_NM[non_dominated(tried_NM)]
    reference_M = reference_of(np.vstack([tried_NM, costs_CM]))
    before = hypervolume(front_FM, reference_M)
    gains_F = np.array([hypervolume(np.vstack([front_FM, costs_CM[i]]), reference_M) - before for i in own_F])
    best = gains_F.argmax() if gains_F.max() > 0 else rng.integers(len(own_F))
    return int(own_F[best])


def drawn_points(
    rows: list[np.ndarray], known: list[Costs], functions: dict[int, Function], objectives: Sequence[str]
) -> np.ndarray:
    """(N, M) less is better: drawn where modelled, else computed. functions: by the objective's place."""
    rows_ND = np.stack(rows)
    columns = [
        functions[place](rows_ND) if place in functions else sign * np.array([costs[name] for costs in known], float)
        for place, (name, sign) in enumerate(zip(objectives, signs(objectives), strict=True))
    ]
    return np.stack(columns, axis=1)
