"""The choice of one candidate a layer: the least sum of scores within hard budgets, the best few, and the whole front.

    minimise  Σ_l s(l, a_l) + Σ_{l<m} w(l, a_l; m, a_m)   under  fixed_c + Σ_l c(l, a_l) ≤ budget_c,  no forbidden pair

a_l is the candidate of layer l, s its score when it alone replaces the layer (the KL of the model's output from the
parent's), w a correction where two candidates interact (`nas.convert.interactions`), c a cost. The additive form is
that of Puzzle (arXiv 2411.19146, section 4); corrections and forbidden pairs are ours.

Results are exact. `nas.convert.programme` solves the integer programme with HiGHS, holds budgets in exact arithmetic,
and tells scores apart that differ by 1e-9 of the largest.

    >>> candidates = [
    ...     Candidate(layer, name, score, {"macs": macs})
    ...     for layer in (0, 1)
    ...     for name, score, macs in (("softmax", 0.0, 10), ("less", 0.01 + 0.02 * layer, 6))
    ... ]
    >>> choose(Problem(candidates, budgets={"macs": 16})).names
    ('less', 'softmax')
    >>> [(choice.score, choice.costs["macs"]) for choice in sweep(Problem(candidates), "macs")]
    [(0.04, 12.0), (0.01, 16.0), (0.0, 20.0)]
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from itertools import groupby

from nas.convert.programme import Chosen, Limit, Programme, Total, exact
from nas.errors import BudgetError, shown

Place = tuple[int, str]  # layer, name of its candidate


@dataclass(frozen=True)
class Candidate:
    """One way to fill a layer.

    `score` is the harm it does alone, smaller is better, in the unit of the objective (nats of KL). `costs` are those
    of the layer with this candidate, by metric, in the metric's unit; every candidate has the same metrics. All numbers
    are finite.
    """

    layer: int
    name: str
    score: float
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Problem:
    """What to choose from, and what the choice has to meet.

    `budgets` are upper limits of the sums by metric, `fixed` the costs of what lies outside of the layers. `forbidden`
    are pairs that must not be chosen together (a `less` behind a layer that hands on no scores), `pairs` corrections of
    the score for pairs that are, of either sign. `reciprocal` are metrics of which more is better, whose costs are
    therefore reciprocals: messages speak of the metric itself.
    """

    candidates: Sequence[Candidate]
    budgets: Mapping[str, float] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    forbidden: Collection[tuple[Place, Place]] = ()
    pairs: Mapping[tuple[Place, Place], float] = field(default_factory=dict)
    reciprocal: Collection[str] = ()


@dataclass(frozen=True)
class Choice:
    """An assembly: the candidate of each layer, in the order of the layers, with its score and its costs by metric."""

    names: tuple[str, ...]
    score: float
    costs: Mapping[str, float]


def choose(problem: Problem) -> Choice:
    """The assembly with the least score within the budgets.

    Raises BudgetError if there is none, with the least that each budget would have to be.

    >>> choose(Problem([Candidate(0, "softmax", 0.0, {"ms": 2.0}), Candidate(0, "less", 0.1, {"ms": 1.5})])).names
    ('softmax',)
    """
    return best(problem, 1)[0]


def best(problem: Problem, count: int) -> list[Choice]:
    """The `count` assemblies with the least scores, best first; fewer if there are not so many within the budgets.

    Raises BudgetError if there is none.

    >>> len(best(Problem([Candidate(0, "softmax", 0.0, {}), Candidate(0, "less", 0.1, {})]), 10))
    2
    """
    task = _Task(problem)
    found: list[Chosen] = []
    while len(found) < count:
        others = [task.programme.other_than(chosen) for chosen in found]
        chosen = task.programme.minimise(task.score, task.limits, others)
        if chosen is None:
            break
        found.append(chosen)
    if not found:
        raise _refusal(task)
    return [task.choice(chosen) for chosen in sorted(found, key=task.score.of)]


def sweep(problem: Problem, metric: str, most: int = 100) -> list[Choice]:
    """The front of score and one cost, cheapest first: no assembly within the other budgets is better in one and not
    worse in the other. A budget of `metric` itself is ignored.

    Every assembly is the best within a limit just below the cost of the next dearer one (the ε-constraint method:
    Haimes et al., 1971). A front of more than `most` assemblies (at least 2) is thinned: both ends, and between them
    assemblies of the front that lie apart by at least a (most − 1)-th of its width.

    Raises BudgetError if no assembly is within the other budgets.
    """
    task = _Task(replace(problem, budgets={name: limit for name, limit in problem.budgets.items() if name != metric}))
    cost = task.costs[metric]
    cheapest = task.programme.minimise(cost, task.limits)
    if cheapest is None:
        raise _refusal(task)
    least = cost.of(cheapest)
    found = _walk(task, cost, least, cost.grain, most)
    if cost.of(found[-1]) > least:
        width = cost.of(found[0]) - least
        found = _walk(task, cost, least, max(width / (most - 1), cost.grain), most)
    return [task.choice(chosen) for chosen in reversed(found)]


class _Task:
    """A problem as a programme: its exact totals, and its assemblies in words."""

    def __init__(self, problem: Problem):
        self.candidates = sorted(problem.candidates, key=lambda candidate: candidate.layer)
        column = {(candidate.layer, candidate.name): index for index, candidate in enumerate(self.candidates)}
        numbered = groupby(range(len(self.candidates)), key=lambda index: self.candidates[index].layer)
        layers = [list(columns) for _, columns in numbered]
        pairs: dict[tuple[int, int], Fraction] = {}
        for (one, other), correction in problem.pairs.items():
            u, v = sorted((column[one], column[other]))
            pairs[u, v] = pairs.get((u, v), Fraction(0)) + exact(correction)
        forbidden = [(column[one], column[other]) for one, other in problem.forbidden]
        self.programme = Programme(layers, forbidden, list(pairs))
        self.score = Total([candidate.score for candidate in self.candidates], layers, pairs, 0)
        self.costs = {
            metric: Total([c.costs[metric] for c in self.candidates], layers, {}, problem.fixed.get(metric, 0))
            for metric in self.candidates[0].costs
        }
        self.budgets = {metric: (self.costs[metric], exact(limit)) for metric, limit in problem.budgets.items()}
        self.reciprocal = problem.reciprocal

    @property
    def limits(self) -> list[Limit]:
        return list(self.budgets.values())

    def choice(self, chosen: Chosen) -> Choice:
        costs = {metric: float(total.of(chosen)) for metric, total in self.costs.items()}
        return Choice(self.names(chosen), float(self.score.of(chosen)), costs)

    def limit(self, metric: str, value: Fraction) -> str:
        """A cost as a limit of the metric, in words: rounded so that it can be met."""
        if metric in self.reciprocal:
            return f"{metric} of at least {_number(1 / value, ROUND_FLOOR)}"
        return f"{metric} of at most {_number(value)}"

    def names(self, chosen: Chosen) -> tuple[str, ...]:
        return tuple(self.candidates[column].name for column in chosen)


def _walk(task: _Task, cost: Total, least: Fraction, step: Fraction, most: int) -> list[Chosen]:
    """Down the front from the best score, by at least `step` of the cost, to the cost `least` or to `most` points."""
    found: list[Chosen] = []
    limits = task.limits
    while len(found) < most:
        chosen = task.programme.minimise(task.score, limits)
        assert chosen is not None, "the cheapest assembly is within the limits"
        score = task.score.of(chosen)
        cheaper = task.programme.minimise(cost, limits, [task.score.row(score)])
        if cheaper is not None and task.score.of(cheaper) <= score:
            chosen = cheaper
        if found and task.score.of(chosen) <= task.score.of(found[-1]):
            found.pop()  # dearer and no better; HiGHS took the cheaper one for worse by its tolerance
        found.append(chosen)
        if cost.of(chosen) == least:
            break
        limits = [*task.limits, (cost, max(cost.of(chosen) - step, least))]
    return found


def _refusal(task: _Task) -> BudgetError:
    """Why no assembly is within the budgets, and what the budgets would have to be."""
    if task.programme.minimise(task.score, []) is None:
        return BudgetError("what must not follow what leaves no assembly; give the layers more candidates")
    alone = [
        f"{task.limit(metric, limit)}: the cheapest assembly allows {task.limit(metric, total.of(chosen))} "
        f"({_in_words(task.names(chosen))})"
        for metric, (total, limit) in task.budgets.items()
        if (chosen := task.programme.minimise(total, [])) is not None and total.of(chosen) > limit
    ]
    if alone:
        return BudgetError(f"nothing meets {'; '.join(alone)}; allowed: that, or add cheaper candidates", path="budget")
    needed = []
    for metric, (total, _) in task.budgets.items():
        others = [limit for name, limit in task.budgets.items() if name != metric]
        chosen = task.programme.minimise(total, others)
        if chosen is not None:
            needed.append(f"{task.limit(metric, total.of(chosen))} ({_in_words(task.names(chosen))})")
    within = " or ".join(needed) or "more than one of them larger"
    each = ", ".join(task.limit(metric, limit) for metric, (_, limit) in task.budgets.items())
    return BudgetError(
        f"each can be met alone, but nothing meets all of {each}; allowed, the others kept: {within}", path="budget"
    )


def _number(value: Fraction, rounding: str = ROUND_CEILING) -> str:
    """Integers in full, others to six digits: of an upper limit, what is shown can be met."""
    if value.denominator == 1:
        return f"{value.numerator:,}"
    rounded = Context(prec=6, rounding=rounding).divide(Decimal(value.numerator), Decimal(value.denominator))
    return f"{rounded:,f}"


def _in_words(names: Sequence[str]) -> str:
    """`('softmax', 'softmax', 'less')` -> `'softmax × 2, less'`, quoted and at most 200 characters."""
    runs = [(name, len(list(run))) for name, run in groupby(names)]
    return shown(", ".join(name if length == 1 else f"{name} × {length}" for name, length in runs))
