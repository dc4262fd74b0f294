"""The cost-aware sampler: exact costs, hard budgets, running and failed trials, spaces whose effects interact."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.engine import Outcome
from nas.metrics import estimator
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.budget import Budget
from nas.search.pareto import hypervolume, reference_of
from nas.search.pool import key_of
from nas.search.samplers import make_sampler, sampler_options
from nas.search.samplers.cost_aware import POINTS, CostAwareSampler, _kept, _mark, adding_most
from nas.search.space import Assignment
from tests.search.simulation import LAVIT, Simulation, sequence

CORES = """
base: mixed_digits
parameters:
  stages.{0,1}.layers.0.core: {choice: [softmax, linear_angular]}
  stages.{0,1}.layers.{1,2}.core: {choice: [softmax, linear_angular, relu_linear]}
  position: {choice: [absolute, none]}
"""


def made(text: str = CORES, objectives: tuple[str, ...] = ("accuracy", "macs"), **keys: Any) -> CostAwareSampler:
    spec = SearchSpec.parse(parse_yaml(text))
    options = sampler_options({"name": "cost_aware"} | keys.pop("options", {}))
    sampler = make_sampler(options, spec.space(spec.genome()), list(objectives), seed=keys.pop("seed", 0))
    assert isinstance(sampler, CostAwareSampler)
    sampler.prepare(estimator(), Budget(**keys))
    return sampler


def crossed(assignment: Assignment) -> float:
    """Accuracy that no single parameter moves on average: three pairs that go together, or do not."""
    cores = [assignment[f"stages.{stage}.layers.{layer}.core"] for stage in (0, 1) for layer in (0, 1, 2)]
    matched = (cores[2] == "softmax") == (assignment["position"] == "none")
    return 0.8 + 0.03 * (cores[0] == cores[3]) + 0.03 * (cores[1] != cores[5]) + 0.03 * matched


def searched(sampler: CostAwareSampler, trials: int, accuracy: Any = crossed) -> list[Assignment]:
    """A search with three trials running at a time."""
    asked: list[Assignment] = []
    for number in range(trials):
        assignment = sampler.ask(number)
        sampler.accept(number, assignment, number, -1.0)
        asked.append(assignment)
        if number >= 2:
            tell(sampler, number - 2, asked[number - 2], accuracy)
    return asked


def tell(sampler: CostAwareSampler, number: int, assignment: Assignment, accuracy: Any, **keys: Any) -> None:
    found = accuracy(assignment) + np.random.default_rng(number).normal(0, 0.005)
    costs = estimator()(sampler.space.genome(assignment))
    sampler.tell(number, Outcome(keys.get("state", "complete"), accuracy=found, epochs=9, costs=costs))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 30), width=st.integers(1, 4))
def test_the_candidate_that_adds_most_is_chosen(seed: int, count: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    costs_CM, tried_NM = rng.integers(0, 6, (count, width)) / 5, rng.integers(0, 6, (5, width)) / 5
    reference_M = reference_of(np.vstack([tried_NM, costs_CM]))
    volumes_C = [hypervolume(np.vstack([tried_NM, cost_M]), reference_M) for cost_M in costs_CM]
    chosen = adding_most(costs_CM, tried_NM, rng)
    assert volumes_C[chosen] == pytest.approx(max(volumes_C))


def test_interactions_are_found_where_no_parameter_matters_alone() -> None:
    """Later trials have all three pairs right, as one genome in six has, in about half of the cases."""
    good = [
        crossed(a) > 0.87 for seed in range(2) for a in searched(made(objectives=("accuracy",), seed=seed), 45)[25:]
    ]
    every = [crossed(a) > 0.87 for a in made().space.every()]
    assert np.mean(every) < 0.2 and np.mean(good) > 0.4


def test_running_trials_are_not_suggested_again() -> None:
    sampler = made()
    known = searched(sampler, 16)
    more = []
    for number in range(16, 40):  # nothing is told any more
        more.append(sampler.ask(number))
        sampler.accept(number, more[-1], number, -1.0)
    keys = [key_of(assignment) for assignment in known[10:] + more]
    assert len(set(keys)) == len(keys)


def test_what_turns_out_to_be_known_is_not_suggested_twice_in_a_row() -> None:
    sampler = made()
    searched(sampler, 16)
    keys = [key_of(sampler.ask(draw)) for draw in range(20, 30)]
    assert len(set(keys)) == 10


@pytest.mark.parametrize("macs", [850_000, 765_000])
def test_candidates_are_within_the_budget(macs: int, tmp_path: Path) -> None:
    keys = {"sampler": "cost_aware", "trials": 20, "budget": {"macs": macs}}
    spec = SearchSpec.parse(
        parse_yaml(LAVIT.replace("stages.0.split", "stages.0.mlp_ratio: {float: [0.5, 4.0]}\n  stages.0.split")) | keys
    )
    states = [trial.outcome.state for trial in Simulation(spec, tmp_path).run().trials if trial.outcome]
    assert states.count("complete") == 20
    assert states.count("infeasible") <= (1 if macs > 800_000 else 20), "the base, and a few until one is found"


def test_objectives_that_only_a_training_tells_are_modelled() -> None:
    sampler = made(objectives=("accuracy", "throughput", "macs"))
    assert sampler._modelled == [0, 1]
    assert made(objectives=("macs", "params"))._modelled == []
    cheapest = searched(made(objectives=("macs",)), 14)
    macs = [estimator()(sampler.space.genome(a))["macs"] for a in cheapest]
    every = [estimator()(sampler.space.genome(a))["macs"] for a in sampler.space.every()]
    assert min(every) in macs[10:], "exactly known: the eleventh suggestion is the cheapest genome"


def test_failures_repel() -> None:
    sampler = made(objectives=("accuracy",))
    for number in range(24):
        assignment = sampler.space.draw(Random(number))
        sampler.accept(number, assignment, number, -1.0)
        failed = assignment["stages.0.layers.0.core"] == "softmax"
        tell(
            sampler,
            number,
            assignment,
            lambda a: 0.8 + 0.01 * (a["position"] == "none"),
            state="failed" if failed else "complete",
        )
    asked = [sampler.ask(draw)["stages.0.layers.0.core"] for draw in range(30, 38)]
    assert asked.count("softmax") <= 1


def test_a_search_that_begins_with_failures_goes_on() -> None:
    sampler = made(options={"startup": 2})
    for number in range(31):
        assignment = sampler.ask(number)
        sampler.accept(number, assignment, number, -1.0)
        state = "failed" if number < 30 else "complete"
        sampler.tell(number, Outcome(state, accuracy=0.5 if number == 30 else None, costs={"macs": 1, "params": 1}))
    assert key_of(sampler.ask(31)) not in {key_of(known) for known in sampler._assignments.values()}


def test_a_search_with_halving_is_continued_after_kills(tmp_path: Path) -> None:
    keys = {"sampler": "cost_aware", "trials": 16, "halving": {"first": 1, "factor": 3}, "training": {"epochs": 9}}
    spec = SearchSpec.parse(parse_yaml(LAVIT) | keys)
    straight = Simulation(spec, tmp_path / "straight", order=1).run()
    reordered = Simulation(spec, tmp_path / "reordered", order=2, workers=3).run()
    assert sequence(straight) == sequence(reordered)
    assert {trial.outcome.state for trial in straight.trials if trial.outcome} == {"complete", "pruned"}


def test_the_model_sees_the_best_and_as_many_of_the_others() -> None:
    values_N = np.random.default_rng(0).permutation(5000).astype(float)
    kept_N = _kept(values_N, np.full(5000, np.inf))
    assert POINTS // 2 < len(kept_N) <= POINTS and len(set(kept_N)) == len(kept_N)
    assert set(range(POINTS // 2)) <= set(values_N[kept_N])
    assert values_N[kept_N].max() > 4500
    assert np.array_equal(_kept(values_N[:9], np.full(9, 1.0)), np.arange(9))
    assert [_mark(count) for count in (1, 7, 21, 23, 1000)] == [1, 7, 20, 22, 972]
