from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import BudgetError, SpaceError
from nas.genome import Genome, load_genome
from nas.metrics import Costs
from nas.search import SearchSpec
from nas.search.budget import Budget, check_feasible
from nas.search.parameter import ParameterSpec, expand
from nas.search.space import SearchSpace
from tests.search.simulation import estimate


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace(load_genome("lavit_digits"), expand("stages.{0,1}.split", ParameterSpec(int=(1, 3))))


@given(macs=st.integers(1, 1000), params=st.integers(1, 1000), speed=st.floats(1, 1000))
def test_a_refusal_and_a_violation_are_the_same_thing(macs: int, params: int, speed: float) -> None:
    budget = Budget(macs=500, params=400, throughput=300.0)
    found = {"macs": macs, "params": params, "throughput": speed}
    within = macs <= 500 and params <= 400 and speed >= 300
    assert (budget.refusal(found) is None) == within
    assert all(excess <= 1e-12 for excess in budget.violations(found).values()) == within


def test_a_refusal_says_by_how_much() -> None:
    budget = Budget(macs=1000, params=10, throughput=50)
    assert budget.refusal({"macs": 1250, "params": 10, "throughput": 40.0}) == (
        "macs 1,250 is over the budget of 1,000 by 25.0 %; throughput 40 is below the least of 50 by 20.0 %"
    )
    assert Budget().refusal({"macs": 10**12, "params": 10**12}) is None


def test_only_what_was_set_is_written_and_whole_limits_stay_whole() -> None:
    budget = Budget.model_validate({"macs": 7.5e5, "params": None, "throughput": None, "latency": 20})
    assert budget.limits == budget.model_dump() == {"macs": 750_000, "latency": 20.0}
    assert budget.model_dump_json() == '{"macs":750000,"latency":20.0}'
    assert Budget.model_validate({"macs": None}) == Budget()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("accuracy", "budget.accuracy: known only after a training, so no budget; allowed: latency, macs"),
        ("mac", r"budget.mac: unknown key; allowed: .* \(did you mean macs\?\)"),
    ],
)
def test_what_no_budget_can_be_set_on_is_refused(name: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        SearchSpec.parse({"base": "lavit_digits", "parameters": DROP, "budget": {name: 1}})


def test_a_feasible_space_passes(space: SearchSpace) -> None:
    check_feasible(space, Budget(), estimate, seed=0)
    check_feasible(space, Budget(macs=878_720), estimate, seed=0)  # exactly what the smallest genome takes


def test_the_binding_budget_is_named_with_its_distance(space: SearchSpace) -> None:
    with pytest.raises(
        BudgetError, match=r"budget: nothing .* at best, macs 878,720 is over the budget of 439,360 by 100.0 %$"
    ):
        check_feasible(space, Budget(macs=439_360, params=10**6), estimate, seed=0)


def test_budgets_that_exclude_each_other_are_told_apart(space: SearchSpace) -> None:
    """Speed is made to grow with MACs here, so that the fast genomes are the large ones."""

    def contrary(genome: Genome) -> Costs:
        found = estimate(genome)
        return found | {"throughput": found["macs"]}

    with pytest.raises(BudgetError, match="all of it at once, though each can be met alone"):
        check_feasible(space, Budget(macs=900_000, throughput=950_000.0), contrary, seed=0)


def test_a_rare_feasible_genome_is_found_by_descent() -> None:
    """One genome in 2^15 is small enough; random draws would miss it."""
    base = load_genome({"image": {"size": 8, "channels": 1}, "classes": 10} | {"stages": [STAGE]})
    space = SearchSpace(base, expand("stages.0.layers.{1..15}.core", ParameterSpec(choice=["softmax", "less"])))
    least = estimate(base.edit({p.path: "less" for p in space.parameters}))["params"]
    check_feasible(space, Budget(params=least), estimate, seed=0)


DROP = {"drop_path": {"choice": [0.0, 0.1]}}
STAGE = {"patch": 2, "width": 16, "heads": 2, "layers": ["softmax"] * 16}
