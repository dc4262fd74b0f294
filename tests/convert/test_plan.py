"""Which assemblies are repaired, with measured scores that a test makes up."""

from __future__ import annotations

import pytest

from nas.convert.candidates import DEFAULT, KEEP, Assembly, listed, offered
from nas.convert.outlook import check_budget, outlook
from nas.convert.plan import Parts, chosen, problem
from nas.convert.score import Score
from nas.errors import BudgetError
from nas.genome import load_genome
from nas.metrics import estimator
from nas.search.budget import Budget

SOME = {name: DEFAULT[name] for name in ("reuse", "linear")}


@pytest.fixture
def parts() -> Parts:
    genome = listed(load_genome("mixed_digits"))
    return Parts(genome, offered(genome, SOME), SOME, estimator())


def score(kl: float) -> Score:
    return Score(kl, 1.0, 0.0, 0.0)


def price(layer: str, name: str) -> float:
    return 0.01 * (1 + int(layer[-1]) + 3 * int(layer[7])) * (1.5 if name == "linear" else 1.0)


def run(parts: Parts, budget: Budget, *, together: float = 0.0, tried: int = 30) -> list[tuple[Assembly, Score]]:
    """together: added to the KL of models in which the first two layers of stage 1 that can reuse both do."""
    single = {place: score(price(*place)) for place in parts.replacements()}
    seen: list[Assembly] = []

    def measure(assemblies: list[Assembly]) -> list[Score]:
        seen.extend(assemblies)
        pair = {"stages.1.layers.1", "stages.1.layers.2"}
        return [
            score(sum(price(*item) for item in each.items()) + together * (pair <= each.keys())) for each in assemblies
        ]

    found = chosen(
        parts, problem(parts, single, budget), "macs", budget, points=4, tried=tried, seed=0, measure=measure
    )
    assert len({tuple(sorted(each.items())) for each in seen}) == len(seen), "nothing is measured twice"
    return found


def test_assemblies_lie_along_the_front_and_within_the_budget(parts: Parts) -> None:
    own = parts.estimate(parts.parent)["macs"]
    budget = Budget(macs=0.95 * own)  # type: ignore[call-arg]
    found = run(parts, budget)
    macs = [parts.costs(assembly)["macs"] for assembly, _ in found]
    kl = [score.kl for _, score in found]
    assert len(found) > 1
    assert macs == sorted(macs) and macs[-1] <= 0.95 * own
    assert kl == sorted(kl, reverse=True)
    assert all(KEEP not in assembly.values() for assembly, _ in found)


def test_interactions_that_sums_do_not_see_are_measured_and_avoided(parts: Parts) -> None:
    pair = {"stages.1.layers.1", "stages.1.layers.2"}
    free = run(parts, Budget())
    assert any(pair <= assembly.keys() for assembly, _ in free[1:])
    avoided = run(parts, Budget(), together=1.0)
    assert not any(pair <= assembly.keys() for assembly, _ in avoided[1:])  # the cheapest has no choice


def test_a_budget_that_nothing_meets_says_what_is_cheapest(parts: Parts) -> None:
    with pytest.raises(BudgetError, match="the cheapest assembly needs"):
        check_budget(parts, Budget(macs=1000))  # type: ignore[call-arg]
    check_budget(parts, Budget(macs=10**9))  # type: ignore[call-arg]


def test_the_outlook_says_what_larger_images_would_save() -> None:
    genome = listed(load_genome("deit_tiny"))
    linear = {"linear": DEFAULT["linear"]}
    said = " ".join(outlook(Parts(genome, offered(genome, linear), linear, estimator()), {}))
    own = estimator()(genome)["macs"]
    all_linear = genome.edit({"stages.0.layers.*.core": DEFAULT["linear"].core.model_dump()})
    share = 100 * (1 - estimator()(all_linear)["macs"] / own)
    assert f"at 197 tokens, candidates save at most {share:.1f} %" in said
    assert "hardly pays" in said and "448 pixels" in said
