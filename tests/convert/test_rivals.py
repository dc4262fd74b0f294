"""Assemblies of simple rules, with measured scores that a test makes up."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from nas.convert.candidates import DEFAULT, Assembly, listed, offered
from nas.convert.plan import CHOSEN, Parts, Pick
from nas.convert.rivals import ARMS, Arm, rivals
from nas.convert.score import Score
from nas.genome import load_genome
from nas.metrics import estimator
from nas.search.budget import Budget

SOME = {name: DEFAULT[name] for name in ("reuse", "linear")}


@pytest.fixture(scope="module")
def parts() -> Parts:
    genome = listed(load_genome("mixed_digits"))
    return Parts(genome, offered(genome, SOME), SOME, estimator())


def measure(assemblies: Sequence[Assembly]) -> list[Score]:
    """Linear is worse than reuse, and the first layers matter more."""
    kl = [
        sum((2 if name == "linear" else 1) / (1 + int(layer[-1])) for layer, name in each.items())
        for each in assemblies
    ]
    return [Score(value, 1.0, 0.0, 0.0) for value in kl]


def picked(parts: Parts, arms: Sequence[Arm], *shares: float, budget: Budget | None = None) -> list[Pick]:
    own = parts.own["macs"]
    picks = [Pick(CHOSEN, share * own, {}, Score(0.0, 1.0, 0.0, 0.0)) for share in shares]
    return rivals(parts, arms, picks, "macs", budget or Budget(), seed=0, measure=measure)


def macs(parts: Parts, pick: Pick) -> float:
    return parts.costs(pick.assembly)["macs"] / parts.own["macs"]


def test_the_last_layers_are_as_few_as_meet_the_cost(parts: Parts) -> None:
    for pick in picked(parts, ["last"], 0.97, 0.92):
        able = [layer for layer, names in parts.options.items() if set(pick.assembly.values()) <= set(names)]
        replaced = list(pick.assembly)
        assert replaced == able[-len(replaced) :]
        assert macs(parts, pick) <= pick.level / parts.own["macs"]
        fewer = Pick("last", 0.0, {layer: pick.assembly[layer] for layer in replaced[1:]}, pick.score)
        assert macs(parts, fewer) > pick.level / parts.own["macs"]


def test_every_other_layer_and_all_of_them(parts: Parts) -> None:
    (alternate, whole) = picked(parts, ["alternate", "all"], 0.97)
    assert len(set(alternate.assembly.values())) == len(set(whole.assembly.values())) == 1
    able = [layer for layer, names in parts.options.items() if "reuse" in names]
    assert list(alternate.assembly) in (able[0::2], able[1::2])
    assert set(whole.assembly.items()) == {
        (layer, "linear") for layer in parts.layers
    }  # reuse has less KL, and fits fewer
    assert whole.level == float("inf")


def test_random_ones_spend_the_cost_are_not_chosen_by_score_and_come_again(parts: Parts) -> None:
    found = picked(parts, ["random"], 0.97, 0.9)
    assert [pick.arm for pick in found] == ["random"] * 2
    assert 0.95 < macs(parts, found[0]) <= 0.97 and macs(parts, found[1]) <= 0.9
    assert found == picked(parts, ["random"], 0.97, 0.9)


def test_an_arm_that_cannot_meet_a_cost_or_the_budget_has_no_assembly(parts: Parts) -> None:
    assert picked(parts, ["last", "alternate", "random"], 0.1) == []
    assert picked(parts, ARMS, 0.97, budget=Budget(macs=1000)) == []  # type: ignore[call-arg]
