"""Choices, their order, and fronts against all assemblies, counted in integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.convert.choice import Candidate, Choice, Problem, best, choose, sweep
from nas.errors import BudgetError

METRICS = ("macs", "ms")
SCORE, MS = 10**6, 10**3  # parts of a score, and of a millisecond


@dataclass(frozen=True)
class Assemblies:
    """All assemblies within the limits: scores in 1e-6, costs in MACs and microseconds."""

    scores_A: np.ndarray
    costs_A: dict[str, np.ndarray]


def all_assemblies(problem: Problem) -> Assemblies:
    layers = sorted({candidate.layer for candidate in problem.candidates})
    of_layer = [[c for c in problem.candidates if c.layer == layer] for layer in layers]
    chosen_AL = np.stack([grid.ravel() for grid in np.meshgrid(*[range(len(of)) for of in of_layer])], axis=1)
    parts = {"macs": 1, "ms": MS}

    def summed(values: list[list[int]]) -> np.ndarray:
        return sum(np.array(of)[chosen_AL[:, index]] for index, of in enumerate(values))

    def has(place: tuple[int, str]) -> np.ndarray:
        index = layers.index(place[0])
        return chosen_AL[:, index] == [c.name for c in of_layer[index]].index(place[1])

    scores_A = summed([[round(c.score * SCORE) for c in of] for of in of_layer])
    for (one, other), correction in problem.pairs.items():
        scores_A = scores_A + round(correction * SCORE) * (has(one) & has(other))
    within_A = np.ones(len(chosen_AL), dtype=bool)
    for one, other in problem.forbidden:
        within_A &= ~(has(one) & has(other))
    costs_A = {}
    for metric in METRICS:
        fixed = round(problem.fixed.get(metric, 0) * parts[metric])
        costs_A[metric] = fixed + summed([[round(c.costs[metric] * parts[metric]) for c in of] for of in of_layer])
        if metric in problem.budgets:
            within_A &= costs_A[metric] <= round(problem.budgets[metric] * parts[metric])
    return Assemblies(scores_A[within_A], {metric: costs_A[metric][within_A] for metric in METRICS})


def assert_belongs(choice: Choice, problem: Problem) -> None:
    """Its numbers are those of its names, and it meets every constraint."""
    layers = sorted({candidate.layer for candidate in problem.candidates})
    places = set(zip(layers, choice.names, strict=True))
    chosen = [c for c in problem.candidates if (c.layer, c.name) in places]
    assert len(chosen) == len(layers)
    corrections = [value for pair, value in problem.pairs.items() if places.issuperset(pair)]
    assert choice.score == float(sum(map(decimal, [*(c.score for c in chosen), *corrections]), Fraction(0)))
    for metric in METRICS:
        total = sum((decimal(c.costs[metric]) for c in chosen), decimal(problem.fixed.get(metric, 0)))
        assert choice.costs[metric] == float(total)
        assert metric not in problem.budgets or total <= decimal(problem.budgets[metric])
    assert not any(places.issuperset(pair) for pair in problem.forbidden)


def decimal(number: float) -> Fraction:
    return Fraction(repr(number))


@st.composite
def problems(draw: st.DrawFn, layers: int = 7, budgets: bool = True) -> Problem:
    """Ties, zeros and equal costs come from narrow ranges; MACs from 1e9 that differ in the last digit."""
    scores = st.integers(0, draw(st.sampled_from([0, 2, 1000, SCORE])))
    macs = st.sampled_from([0, 10**9, 7 * 10**9]).flatmap(lambda base: st.integers(base, base + 3)) | st.integers(1, 4)
    numbers = draw(st.lists(st.integers(0, 30), min_size=1, max_size=layers, unique=True))
    candidates = [
        Candidate(layer, name, draw(scores) / SCORE, {"macs": draw(macs), "ms": draw(st.integers(0, 20)) * 100 / MS})
        for layer in numbers
        for name in ("softmax", "less", "linear", "reuse")[: draw(st.integers(1, 4))]
    ]
    places = st.sampled_from([(c.layer, c.name) for c in candidates])
    pairs = st.tuples(places, places).filter(lambda pair: pair[0][0] != pair[1][0])
    few = {"max_size": 0 if len(numbers) == 1 else 6}
    problem = Problem(
        candidates,
        fixed=draw(st.sampled_from([{}, {"macs": 12345, "ms": 0.1}])),
        forbidden=draw(st.lists(pairs, **few)),
        pairs=draw(st.dictionaries(pairs, st.integers(-SCORE, SCORE).map(lambda n: n / SCORE), **few)),
    )
    if not budgets:
        return problem
    limits = {}
    for metric in draw(st.sets(st.sampled_from(METRICS))):
        # At an assembly's cost, a little below it, and below everything.
        found = draw(st.sampled_from(candidates)).costs[metric] * len(numbers)
        limits[metric] = found + draw(st.sampled_from([0, -1, 1])) if metric == "macs" else round(found + 0.1, 3)
    return replace(problem, budgets=limits)


@given(problem=problems(), count=st.integers(1, 10))
def test_the_best_are_those_of_all_assemblies_in_order(problem: Problem, count: int) -> None:
    expected = np.sort(all_assemblies(problem).scores_A)[:count]
    if len(expected) == 0:
        with pytest.raises(BudgetError):
            choose(problem)
        return
    found = best(problem, count)
    assert [round(choice.score * SCORE) for choice in found] == expected.tolist()
    assert len({choice.names for choice in found}) == len(found)
    for choice in found:
        assert_belongs(choice, problem)


@settings(max_examples=30)
@given(problem=problems(layers=4), metric=st.sampled_from(METRICS))
def test_a_sweep_is_the_front_of_all_assemblies(problem: Problem, metric: str) -> None:
    others = {name: limit for name, limit in problem.budgets.items() if name != metric}
    every = all_assemblies(replace(problem, budgets=others))
    if len(every.scores_A) == 0:
        with pytest.raises(BudgetError):
            sweep(problem, metric)
        return
    part = {"macs": 1, "ms": MS}[metric]
    front = front_of(every.scores_A, every.costs_A[metric])
    found = sweep(problem, metric, most=1000)
    assert [(round(c.costs[metric] * part), round(c.score * SCORE)) for c in found] == front
    for choice in found:
        assert_belongs(choice, replace(problem, budgets=others))

    thinned = sweep(problem, metric, most=3)
    points = [(round(c.costs[metric] * part), round(c.score * SCORE)) for c in thinned]
    assert len(points) <= 3 and set(points) <= set(front) and points[0] == front[0] and points[-1] == front[-1]


def front_of(scores_A: np.ndarray, costs_A: np.ndarray) -> list[tuple[int, int]]:
    """(cost, score), cheapest first; equal points once."""
    front: list[tuple[int, int]] = []
    for cost, score in sorted(zip(costs_A.tolist(), scores_A.tolist(), strict=True)):
        if not front or score < front[-1][1]:
            front.append((cost, score))
    return front


def layers_of(*options: tuple[str, float, float, float], layers: int = 3) -> list[Candidate]:
    return [
        Candidate(layer, name, score, {"macs": macs, "ms": ms})
        for layer in range(layers)
        for name, score, macs, ms in options
    ]


TWO = layers_of(("softmax", 0.0, 1_000_000_007, 0.1), ("less", 0.25, 1_000_000_000, 0.2))


def test_a_budget_is_met_to_the_last_mac_and_in_decimals() -> None:
    assert choose(Problem(TWO, budgets={"macs": 3_000_000_021})).names == ("softmax",) * 3
    assert choose(Problem(TWO, budgets={"macs": 3_000_000_020})).names.count("less") == 1
    assert choose(Problem(TWO, budgets={"ms": 0.3})).names == ("softmax",) * 3, "0.1 + 0.1 + 0.1 exceeds 0.3 in floats"


def test_a_solution_over_a_budget_by_less_than_the_tolerance_of_highs_is_refused() -> None:
    last = [("dear", 0.0, 3), ("cheap", 0.25, 2)]
    candidates = [
        Candidate(layer, name, score, {"macs": macs})
        for layer in range(6)
        for name, score, macs in (last if layer else [("softmax", 0.0, 10**10), ("less", 9.0, 0)])
    ]
    found = best(Problem(candidates, budgets={"macs": 10**10 + 12}), 11)
    assert [choice.score for choice in found] == [0.75] * 10 + [1.0]


def test_scores_that_differ_little_are_told_apart() -> None:
    scores = [0.1 + step * 1e-8 for step in range(8)]
    candidates = [Candidate(layer, str(step), scores[step], {}) for layer in range(2) for step in range(8)]
    found = best(Problem([*candidates, Candidate(2, "bad", 1.0, {}), Candidate(2, "good", 0.0, {})]), 6)
    assert [sum(map(int, choice.names[:2])) for choice in found] == [0, 1, 1, 2, 2, 2]
    assert {choice.names[2] for choice in found} == {"good"}


def test_a_correction_may_be_written_in_either_order() -> None:
    one, other = (0, "less"), (2, "less")
    found = choose(Problem(TWO, pairs={(one, other): -0.75, (other, one): -0.25}))
    assert (found.names, found.score) == (("less", "softmax", "less"), -0.5)


def test_a_budget_that_nothing_meets_is_named_with_the_cheapest_assembly() -> None:
    with pytest.raises(BudgetError) as refused:
        choose(Problem(TWO, budgets={"macs": 3e9 - 1, "ms": 1}, fixed={"macs": 5}))
    assert str(refused.value) == (
        "budget: nothing meets macs of at most 2,999,999,999: the cheapest assembly allows macs of at most "
        "3,000,000,005 ('less × 3'); allowed: that, or add cheaper candidates"
    )


def test_budgets_that_only_exclude_each_other_say_what_each_needs() -> None:
    problem = Problem(TWO, budgets={"macs": 3_000_000_007, "ms": 0.45})
    with pytest.raises(BudgetError, match="each can be met alone") as refused:
        choose(problem)
    assert "macs of at most 3,000,000,014" in str(refused.value)
    assert "ms of at most 0.5" in str(refused.value)
    assert choose(replace(problem, budgets={"macs": 3_000_000_014, "ms": 0.45})).names.count("less") == 1
    assert choose(replace(problem, budgets={"macs": 3_000_000_007, "ms": 0.5})).names.count("less") == 2


def test_a_metric_of_which_more_is_better_is_named_in_its_own_unit() -> None:
    candidates = [
        Candidate(0, name, 0.0, {"throughput": 1 / value}) for name, value in (("softmax", 200), ("less", 500))
    ]
    with pytest.raises(BudgetError) as refused:
        choose(Problem(candidates, budgets={"throughput": 1 / 1000}, reciprocal=["throughput"]))
    message = "throughput of at least 1,000: the cheapest assembly allows throughput of at least 500 ('less')"
    assert str(refused.value).startswith(f"budget: nothing meets {message}; ")
    assert choose(Problem(candidates, budgets={"throughput": 1 / 500}, reciprocal=["throughput"])).names == ("less",)


def test_a_budget_of_the_number_that_is_shown_can_be_met() -> None:
    candidates = [Candidate(layer, "softmax", 0.0, {"ms": 0.1234567891234}) for layer in range(3)]
    with pytest.raises(BudgetError, match=r"allows ms of at most 0\.370371 "):
        choose(Problem(candidates, budgets={"ms": 0.37}))
    assert choose(Problem(candidates, budgets={"ms": 0.370371})).names == ("softmax",) * 3


def test_forbidden_pairs_that_leave_nothing_are_named() -> None:
    less = [Candidate(layer, "less", 0.1, {"macs": 1}) for layer in (3, 4)]
    with pytest.raises(BudgetError, match="what must not follow what leaves no assembly"):
        choose(Problem(less, forbidden=[((3, "less"), (4, "less"))], budgets={"macs": 5}))


def test_a_sweep_ignores_the_budget_of_its_metric_and_holds_the_others() -> None:
    problem = Problem(TWO, budgets={"macs": 1, "ms": 0.5})
    assert [choice.names.count("less") for choice in sweep(problem, "macs")] == [2, 1, 0]
    with pytest.raises(BudgetError, match=r"ms of at most 0\.2:"):
        sweep(replace(problem, budgets={"ms": 0.2}), "macs")


def test_a_chain_of_less_needs_a_layer_that_hands_on_scores() -> None:
    candidates = [
        Candidate(layer, name, score, {"macs": macs})
        for layer in range(4)
        for name, score, macs in (("softmax", 0.0, 10), ("linear", 0.1, 4), ("less", 0.2, 1))
        if (layer, name) != (0, "less")
    ]
    behind_linear = [((layer, "linear"), (layer + 1, "less")) for layer in range(3)]
    assert choose(Problem(candidates, {"macs": 7})).names == ("linear", "less", "less", "less")
    assert choose(Problem(candidates, {"macs": 13}, forbidden=behind_linear)).names == (
        "softmax",
        "less",
        "less",
        "less",
    )
