"""Which assemblies are repaired, with measured scores that a test makes up."""

from __future__ import annotations

import pytest

from nas.convert.candidates import DEFAULT, KEEP, Assembly, assembled, key_of, listed, offered
from nas.convert.choice import choose
from nas.convert.outlook import check_budget, outlook
from nas.convert.plan import Explored, Parts, Pick, explored, problem
from nas.convert.score import Score
from nas.errors import BudgetError, RunError
from nas.genome import load_genome
from nas.metrics import estimator
from nas.profiling import LatencyTable
from nas.profiling.parts import parts as part_keys
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


def run(parts: Parts, budget: Budget, *, together: float = 0.0, tried: int = 30, points: int = 4) -> list[Pick]:
    """together: added to the KL of models in which the first two layers of stage 1 that can reuse both do."""
    single = {place: score(price(*place)) for place in parts.replacements()}
    seen: list[Assembly] = []

    def measure(assemblies: list[Assembly]) -> list[Score]:
        seen.extend(assemblies)
        pair = {"stages.1.layers.1", "stages.1.layers.2"}
        return [
            score(sum(price(*item) for item in each.items()) + together * (pair <= each.keys())) for each in assemblies
        ]

    found = explored(
        parts, problem(parts, single, budget), "macs", budget, points=points, tried=tried, seed=0, measure=measure
    ).picks()
    assert len({tuple(sorted(each.items())) for each in seen}) == len(seen), "nothing is measured twice"
    return found


def test_assemblies_lie_along_the_front_and_within_the_budget(parts: Parts) -> None:
    own = parts.estimate(parts.parent)["macs"]
    budget = Budget(macs=0.95 * own)  # type: ignore[call-arg]
    found = run(parts, budget)
    macs = [parts.costs(pick.assembly)["macs"] for pick in found]
    kl = [pick.score.kl for pick in found]
    assert len(found) > 1
    assert macs == sorted(macs) and macs[-1] <= 0.95 * own
    assert kl == sorted(kl, reverse=True)
    assert all(KEEP not in pick.assembly.values() for pick in found)


@pytest.mark.parametrize("share", [0.9, 0.95])
def test_one_point_is_the_best_that_a_budget_allows(parts: Parts, share: float) -> None:
    """Without interactions, the exact choice is known; with no random assemblies it has to come from the sums."""
    budget = Budget(macs=share * parts.own["macs"])  # type: ignore[call-arg]
    single = {place: score(price(*place)) for place in parts.replacements()}
    names = choose(problem(parts, single, budget)).names
    (pick,) = run(parts, budget, tried=0, points=1)
    assert tuple(pick.assembly.get(layer, KEEP) for layer in parts.layers) == names
    assert pick.level == share * parts.own["macs"]
    several = run(parts, budget, tried=0, points=4)
    assert several[-1].assembly == pick.assembly and all(each.level <= pick.level for each in several)


def test_interactions_that_sums_do_not_see_are_measured_and_avoided(parts: Parts) -> None:
    pair = {"stages.1.layers.1", "stages.1.layers.2"}
    free = run(parts, Budget())
    assert any(pair <= pick.assembly.keys() for pick in free[1:])
    avoided = run(parts, Budget(), together=1.0)
    assert not any(pair <= pick.assembly.keys() for pick in avoided[1:])  # the cheapest has no choice


def test_a_budget_that_nothing_meets_says_what_is_cheapest(parts: Parts) -> None:
    with pytest.raises(BudgetError, match="the cheapest assembly allows macs of at most"):
        check_budget(parts, Budget(macs=1000))  # type: ignore[call-arg]
    check_budget(parts, Budget(macs=10**9))  # type: ignore[call-arg]


def test_candidates_that_are_all_dearer_are_repaired_or_refused_at_once() -> None:
    """At 16 and 4 tokens linear attention with a convolution has more MACs than softmax."""
    genome, dear = listed(load_genome("mixed_digits")), {"linear_local": DEFAULT["linear_local"]}
    parts = Parts(genome, offered(genome, dear), dear, estimator())
    own = parts.estimate(genome)["macs"]
    assert all(costs["macs"] > own for costs in parts.alone.values())
    check_budget(parts, Budget())
    (pick,) = run(parts, Budget())
    assert pick.assembly and parts.costs(pick.assembly)["macs"] > own
    (within,) = run(parts, Budget(macs=2 * own))  # type: ignore[call-arg]
    assert within.assembly
    with pytest.raises(BudgetError, match="nothing but the model itself is within the budget"):
        check_budget(parts, Budget(macs=own))  # type: ignore[call-arg]


def test_the_outlook_says_what_larger_images_would_save() -> None:
    genome = listed(load_genome("deit_tiny"))
    linear = {"linear": DEFAULT["linear"]}
    said = " ".join(outlook(Parts(genome, offered(genome, linear), linear, estimator()), {}))
    own = estimator()(genome)["macs"]
    all_linear = genome.edit({"stages.0.layers.*.core": DEFAULT["linear"].core.model_dump()})
    share = 100 * (1 - estimator()(all_linear)["macs"] / own)
    assert f"at 197 tokens, candidates save at most {share:.1f} %" in said
    assert "hardly pays" in said and "448 pixels" in said


def test_the_outlook_says_each_candidates_time_against_the_layer_that_it_replaces(parts: Parts) -> None:
    """With a table in which a layer of softmax takes 10 ms and any other 4 ms."""
    genomes = [parts.parent, *(assembled(parts.parent, {layer: name}, SOME) for layer, name in parts.replacements())]
    keys = {key: name for genome in genomes for name, key in part_keys(genome).items()}
    softmax = '"core": {"block": "softmax"'
    seconds = {key: (0.010 if softmax in key else 0.004) * ("layers" in name) for key, name in keys.items()}
    said = outlook(parts, {1: LatencyTable(seconds, "cpu", 1, 1)})
    assert said[0] == "one image takes 70.00 ms; by candidate, for each layer:"
    assert said[1].strip() == "stages.0 (16 tokens, 10.000 ms a layer): linear -6.000 ms, reuse -6.000 ms"
    assert said[2].strip() == "stages.1 (4 tokens, 10.000 ms a layer): linear -6.000 ms, reuse -6.000 ms"
    assert "60.0 % of the time (batches of 1)" in said[3]


def named(count: int) -> list[Assembly]:
    return [{f"stages.0.layers.{number}": "reuse"} for number in range(count)]


def test_after_a_shared_training_the_most_accurate_is_picked_at_each_level() -> None:
    a, b, c, d, e = named(5)
    before = [
        (1.0, a, score(0.9)),
        (2.0, b, score(0.1)),
        (2.0, c, score(0.2)),
        (3.0, d, score(0.0)),
        (4.0, e, score(0)),
    ]
    seen = Explored([1.0, 2.0, 3.0], before)
    assert [pick.assembly for pick in seen.picks()] == [a, b, d]
    after = {
        key_of(each): Score(kl, 1.0, gain, 0.0) for each, kl, gain in ((a, 0.5, -0.1), (b, 0.5, 0.02), (c, 0.4, 0.02))
    }
    picks = seen.picks(after)
    assert [pick.assembly for pick in picks] == [a, c], "of equal ones the nearer, and d was not trained"
    assert [pick.score.kl for pick in picks] == [0.9, 0.2], "as before the repair"
    with pytest.raises(RunError, match=r"no assembly has finite answers; .* a lower sharing\.lr"):
        seen.picks({})
    with pytest.raises(BudgetError, match="makes a model"):
        Explored([1.0], []).picks()


def test_the_promising_are_those_of_the_first_fronts_within_the_levels() -> None:
    front, second, dominated, dear, cheap = named(5)
    measured = [
        (3.0, dominated, score(0.9)), (2.0, second, score(0.5)), (2.0, front, score(0.1)), (9.0, dear, score(0.0)),
        (1.0, cheap, score(0.4)),
    ]  # fmt: skip
    seen = Explored([1.0, 3.0], measured)
    assert seen.promising(2) == [front, cheap]
    assert seen.promising(9) == [front, cheap, second, dominated]
