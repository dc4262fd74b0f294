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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random

from nas.convert.candidates import KEEP, Assembly, Candidate, Place, assembled, clashes
from nas.convert.choice import Candidate as Option
from nas.convert.choice import Problem, best, sweep
from nas.convert.interactions import fit_pairs
from nas.convert.score import Score
from nas.errors import BudgetError, GenomeError
from nas.genome import Genome
from nas.metrics import METRICS, Costs, Estimate
from nas.search.budget import Budget
from nas.seeds import derive

RESCORED = 10  # best assemblies that are measured at each level of cost
PAIRS = 100  # largest corrections that are kept: the programme's time grows with their number
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
        saved = {metric: _less(metric, costs[metric]) - own[metric] for metric in own}
        options.append(Option(number[layer], name, single[layer, name].kl, saved))
    limits = {name: _less(name, limit) for name, limit in budget.limits.items()}
    forbidden = [((number[a], one), (number[b], other)) for (a, one), (b, other) in parts.clashes]
    return Problem(options, limits, own, forbidden)


def chosen(
    parts: Parts, found: Problem, metric: str, budget: Budget, *, points: int, tried: int, seed: int, measure: Measure
) -> list[tuple[Assembly, Score]]:
    """The assemblies to repair, cheapest first, with their scores. Raises BudgetError if none is within the budget."""
    levels = _levels(found, metric, points)
    measured: dict[tuple[str, ...], Score] = {}

    def look(names: Sequence[tuple[str, ...]]) -> None:
        new = [each for each in dict.fromkeys(names) if each not in measured and _valid(parts, each, budget)]
        for each, score in zip(new, measure([_assembly(parts, each) for each in new]), strict=True):
            measured[each] = score

    random = _random(parts, tried, seed)
    look([*_promising(found, metric, levels), *random])
    if random:
        additive = _sums(found)
        names = list(measured)
        found_kl, sums = [measured[each].kl for each in names], [additive(each) for each in names]
        fitted = fit_pairs(names, found_kl, sums, parent=[KEEP] * len(parts.layers))
        pairs = dict(sorted(fitted.items(), key=lambda item: -abs(item[1]))[:PAIRS])
        look(_promising(replace(found, pairs=pairs), metric, levels))
    cost = {each: _less(metric, parts.costs(_assembly(parts, each))[metric]) for each in measured}
    picked = []
    for level in levels:
        within = [each for each in measured if cost[each] <= level and set(each) != {KEEP}]
        if within:
            picked.append(min(within, key=lambda each: (measured[each].kl, cost[each])))
    if not picked:
        raise BudgetError("no assembly within the budget makes a model", path="budget")
    return [(_assembly(parts, each), measured[each]) for each in dict.fromkeys(picked)]


def _levels(found: Problem, metric: str, points: int) -> list[float]:
    """Costs at which assemblies are chosen, cheapest first: evenly up to the dearest below the parent's and the budget.

    One point is the dearest: the best that a budget allows.
    """
    front = [choice.costs[metric] for choice in sweep(found, metric)]
    below = [cost for cost in front if cost < found.fixed[metric]] or front[:1]
    low, high = min(below), max(below)
    return [high - (high - low) * step / max(points - 1, 1) for step in reversed(range(points if high > low else 1))]


def _promising(found: Problem, metric: str, levels: Sequence[float]) -> list[tuple[str, ...]]:
    """The best assemblies within each level of cost."""
    names: list[tuple[str, ...]] = []
    for level in levels:
        within = replace(found, budgets={**found.budgets, metric: level})
        names += [choice.names for choice in best(within, RESCORED)]
    return names


def _random(parts: Parts, count: int, seed: int) -> list[tuple[str, ...]]:
    """Different random assemblies; fewer where there are no more."""
    rng = Random(derive(seed, "assemblies"))
    drawn: dict[tuple[str, ...], None] = {}
    for _ in range(20 * count):
        if len(drawn) == count:
            break
        share = rng.random()
        names = tuple(rng.choice(parts.options[layer]) if rng.random() < share else KEEP for layer in parts.layers)
        if set(names) != {KEEP}:
            drawn[names] = None
    return list(drawn)


def _valid(parts: Parts, names: tuple[str, ...], budget: Budget) -> bool:
    try:
        costs = parts.costs(_assembly(parts, names))
    except GenomeError:
        return False
    return budget.refusal(costs) is None


def _sums(found: Problem) -> Callable[[tuple[str, ...]], float]:
    score = {(option.layer, option.name): option.score for option in found.candidates}
    return lambda names: sum(score[number, name] for number, name in enumerate(names))


def _assembly(parts: Parts, names: tuple[str, ...]) -> Assembly:
    return {layer: name for layer, name in zip(parts.layers, names, strict=True) if name != KEEP}


def _less(metric: str, value: float) -> float:
    """A cost of which less is better: the metric itself, or its reciprocal."""
    return value if METRICS[metric].direction == "min" else 1 / value
