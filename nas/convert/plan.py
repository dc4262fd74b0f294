"""Which assemblies are worth repairing: those that the scores of single replacements, and of some assemblies, promise.

1. Every candidate alone in its layer has a score (KL) and costs; the sum of scores ranks assemblies.
2. Along the front of that sum and one cost, at `points` levels of cost, the ten best assemblies are measured, and
   `tried` random ones as well.
3. What the sums miss is fitted as corrections of pairs (nas/convert/interactions.py), and step 2's ten are chosen anew.
4. At every level, the assembly with the least measured KL within that level's cost is repaired.

The exact choice is that of nas/convert/choice.py. Costs are those of the whole genome less the parent's: candidates of
a layer cost the same in whatever company. A cost of which more is better (images per second) counts as its reciprocal.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
import pandas as pd

from nas.convert.candidates import KEEP, Assembly, Candidate, Place, assembled, clashes, key_of
from nas.convert.choice import Candidate as Option
from nas.convert.choice import Place as Numbered
from nas.convert.choice import Problem, best, sweep
from nas.convert.interactions import fit_pairs
from nas.convert.score import Score
from nas.errors import BudgetError, GenomeError, RunError
from nas.genome import Genome
from nas.metrics import METRICS, Costs, Estimate
from nas.search.budget import Budget
from nas.search.pareto import front_ranks
from nas.seeds import derive

RESCORED = 10  # best assemblies that are measured at each level of cost
PAIRS = 100  # largest corrections that are kept: the programme's time grows with their number
CHOSEN = "chosen"  # the arm of the assemblies that the scores promise
Measure = Callable[[Sequence[Assembly]], list[Score]]


@dataclass(frozen=True)
class Parts:
    """The parent (its genome `listed`), what each layer is offered, and what a genome costs by metric."""

    parent: Genome
    options: Mapping[str, Sequence[str]]
    candidates: Mapping[str, Candidate]
    estimate: Estimate

    @property
    def layers(self) -> list[str]:
        return list(self.options)

    @cached_property
    def own(self) -> Costs:
        """The parent's costs."""
        return self.estimate(self.parent)

    @cached_property
    def alone(self) -> dict[Place, Costs]:
        """The costs of the parent with one candidate in it, `keep` not included."""
        return {(layer, name): self.costs({layer: name}) for layer, name in self.replacements()}

    @cached_property
    def clashes(self) -> list[tuple[Place, Place]]:
        return list(clashes(self.parent, self.options, self.candidates))

    def replacements(self) -> list[Place]:
        """Every (layer, candidate) other than `keep`."""
        return [(layer, name) for layer, names in self.options.items() for name in names if name != KEEP]

    def costs(self, assembly: Assembly) -> Costs:
        return self.estimate(assembled(self.parent, assembly, self.candidates))


def problem(parts: Parts, single: Mapping[Place, Score], budget: Budget) -> Problem:
    """The choice of one candidate a layer. single: the score of each replacement alone."""
    own = {name: _less(name, value) for name, value in parts.own.items()}
    number = {layer: index for index, layer in enumerate(parts.layers)}
    options = [Option(index, KEEP, 0.0, dict.fromkeys(own, 0)) for index in number.values()]
    for (layer, name), costs in parts.alone.items():
        if not math.isfinite(single[layer, name].kl):  # its training diverged
            continue
        saved = {metric: _less(metric, costs[metric]) - own[metric] for metric in own}
        options.append(Option(number[layer], name, single[layer, name].kl, saved))
    limits = {name: _less(name, limit) for name, limit in budget.limits.items()}
    forbidden = [((number[a], one), (number[b], other)) for (a, one), (b, other) in parts.clashes]
    more = [name for name in own if METRICS[name].direction == "max"]
    return Problem(options, limits, own, forbidden, reciprocal=more)


@dataclass(frozen=True)
class Pick:
    """An assembly to repair. level: the cost within which it was picked, less being better. score: before repair."""

    arm: str
    level: float
    assembly: Assembly
    score: Score


@dataclass(frozen=True)
class Explored:
    """The assemblies that were measured, each with its cost, and the levels of cost at which some are picked."""

    levels: Sequence[float]
    measured: Sequence[tuple[float, Assembly, Score]]

    def picks(self, after: Mapping[str, Score] | None = None) -> list[Pick]:
        """At each level the best assembly within it: of the least KL from the parent; cheapest level first.

        after: finite scores after a shared training, by `key_of`; the most accurate of these assemblies is then the
        best, and of equal ones that of the least KL. Raises RunError if it left none, BudgetError if there is none.
        """
        seen = [(cost, each, score) for cost, each, score in self.measured if after is None or key_of(each) in after]

        def merit(assembly: Assembly, score: Score) -> tuple[float, ...]:
            if after is None:
                return (score.kl,)
            now = after[key_of(assembly)]
            return -now.delta_accuracy, now.kl

        picked: dict[str, Pick] = {}
        for level in self.levels:
            within = [(merit(each, score), cost, each, score) for cost, each, score in seen if cost <= level]
            if within:
                _, _, best, score = min(within, key=lambda item: item[:2])
                picked.setdefault(key_of(best), Pick(CHOSEN, level, best, score))
        if not picked and after is not None:
            message = "after the shared training no assembly has finite answers"
            raise RunError(f"{message}; begin another run with a lower sharing.lr")
        if not picked:
            raise BudgetError("no assembly within the budget makes a model", path="budget")
        return list(picked.values())

    def promising(self, count: int) -> list[Assembly]:
        """So many assemblies within the dearest level: the front of measured KL and cost, then that of the rest."""
        within = [(cost, each, score) for cost, each, score in self.measured if cost <= max(self.levels)]
        rank_N = front_ranks(np.array([[score.kl, cost] for cost, _, score in within]))
        return [within[number][1] for number in np.argsort(rank_N, kind="stable")[:count]]


def explored(
    parts: Parts, found: Problem, metric: str, budget: Budget, *, points: int, tried: int, seed: int, measure: Measure
) -> Explored:
    """Measure what the scores promise, and random assemblies."""
    levels = _levels(found, metric, points)
    measured: dict[str, tuple[Assembly, Score]] = {}

    def look(assemblies: Sequence[Assembly]) -> None:
        new = {key_of(each): each for each in assemblies if key_of(each) not in measured and valid(parts, each, budget)}
        for (key, each), score in zip(new.items(), measure(list(new.values())), strict=True):
            if math.isfinite(score.kl):
                measured[key] = each, score

    random = random_assemblies(parts, tried, derive(seed, "assemblies"))
    look([*_promising(parts, found, metric, levels), *random])
    if random:
        look(_promising(parts, replace(found, pairs=_pairs(parts, found, measured.values())), metric, levels))
    return Explored(levels, [(cost_of(parts, each, metric), each, score) for each, score in measured.values() if each])


def repaired(picks: Sequence[Pick], layers: Sequence[str], trials: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A row per pick: its arm, its trial, the change in accuracy against the parent before repair, and after it.

    trials: as in trials.csv; trial 0 is the parent, trained as long. within: the limit of `metric` at which it was
    picked.
    """
    known = {key_of({layer: row[layer] for layer in layers}): row for row in trials.to_dict("records")}
    parent = known[key_of({})]["accuracy"]
    rows = []
    for pick in picks:
        trial = known[key_of(pick.assembly)]
        within = pick.level if METRICS[metric].direction == "min" else 1 / pick.level
        row: dict[str, Any] = {"arm": pick.arm, "within": within, "trial": trial["trial"]}
        row |= {"replaced": len(pick.assembly), "macs": trial["macs"], metric: trial[metric]}
        row |= {"kl": pick.score.kl, "delta_accuracy_before": pick.score.delta_accuracy}
        rows.append(row | {"accuracy": trial["accuracy"], "delta_accuracy": trial["accuracy"] - parent})
    return pd.DataFrame(rows)


def _levels(found: Problem, metric: str, points: int) -> list[float]:
    """Costs at which assemblies are chosen, cheapest first: evenly, the dearest the budget or else below the parent.

    One point is the dearest: the best that a budget allows. Where no assembly is cheaper than the parent, whatever the
    budget allows.
    """
    front = [choice.costs[metric] for choice in sweep(found, metric)]
    budget = found.budgets.get(metric, math.inf)
    below = [cost for cost in front if cost < found.fixed[metric]]
    if not below:
        dearest: dict[int, float] = defaultdict(float)
        for option in found.candidates:
            dearest[option.layer] = max(dearest[option.layer], option.costs[metric])
        return [min(budget, found.fixed[metric] + sum(dearest.values()))]
    low = min(front)
    high = budget if budget < found.fixed[metric] else max(below)
    levels: list[float] = np.linspace(low, high, points).tolist() if points > 1 and low < high else [high]
    return levels


def _promising(parts: Parts, found: Problem, metric: str, levels: Sequence[float]) -> list[Assembly]:
    """The best assemblies within each level of cost."""
    assemblies = []
    for level in levels:
        within = replace(found, budgets={**found.budgets, metric: level})
        assemblies += [_assembly(parts, choice.names) for choice in best(within, RESCORED)]
    return assemblies


def _pairs(
    parts: Parts, found: Problem, measured: Collection[tuple[Assembly, Score]]
) -> dict[tuple[Numbered, Numbered], float]:
    """Corrections for pairs of candidates, from what measured assemblies have beside the sum of their parts."""
    single = {(option.layer, option.name): option.score for option in found.candidates}
    names = [tuple(each.get(layer, KEEP) for layer in parts.layers) for each, _ in measured]
    sums = [sum(single[place] for place in enumerate(each)) for each in names]
    fitted = fit_pairs(names, [score.kl for _, score in measured], sums, parent=[KEEP] * len(parts.layers))
    return dict(sorted(fitted.items(), key=lambda item: -abs(item[1]))[:PAIRS])


def random_assemblies(parts: Parts, count: int, seed: int) -> list[Assembly]:
    """Different random assemblies, each with a share of replaced layers of its own; fewer where there are no more."""
    rng = Random(seed)
    drawn: dict[str, Assembly] = {}
    for _ in range(20 * count):
        if len(drawn) == count:
            break
        share = rng.random()
        names = tuple(rng.choice(parts.options[layer]) if rng.random() < share else KEEP for layer in parts.layers)
        assembly = _assembly(parts, names)
        if assembly:
            drawn[key_of(assembly)] = assembly
    return list(drawn.values())


def valid(parts: Parts, assembly: Assembly, budget: Budget) -> bool:
    """Whether the assembly makes a model, and one within the budget."""
    try:
        costs = parts.costs(assembly)
    except GenomeError:
        return False
    return budget.refusal(costs) is None


def cost_of(parts: Parts, assembly: Assembly, metric: str) -> float:
    """One of an assembly's costs, less being better."""
    return _less(metric, parts.costs(assembly)[metric])


def _assembly(parts: Parts, names: tuple[str, ...]) -> Assembly:
    return {layer: name for layer, name in zip(parts.layers, names, strict=True) if name != KEEP}


def _less(metric: str, value: float) -> float:
    """A cost of which less is better: the metric itself, or its reciprocal."""
    return value if METRICS[metric].direction == "min" else 1 / value
