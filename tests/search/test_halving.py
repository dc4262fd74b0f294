"""Successive halving: who goes on, for how long, and that kills and the order of workers change nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from nas.engine.job import read_rungs
from nas.errors import SpaceError
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec, front_of
from nas.search.schedulers import make_scheduler, scheduler_options
from nas.search.schedulers.halving import SuccessiveHalving
from tests.search.simulation import LAVIT, Simulation, killed_and_resumed, sequence


def space(**keys: object) -> SearchSpec:
    wide = {"stages.{0,1}.mlp_ratio": {"choice": [1.0, 2.0, 3.0]}}
    data = parse_yaml(LAVIT)
    data["parameters"] |= wide
    return SearchSpec.parse(
        data | {"trials": 27, "halving": {"first": 1, "factor": 3}, "training": {"epochs": 9}} | keys
    )


def halving(epochs: int, **options: int) -> SuccessiveHalving:
    scheduler = make_scheduler(scheduler_options({"name": "halving"} | options), epochs)
    assert isinstance(scheduler, SuccessiveHalving)
    return scheduler


def test_rungs_end_with_the_whole_training() -> None:
    assert halving(15, first=1, factor=3).rungs == [1, 3, 9, 15]
    assert halving(15).rungs == [8, 15] and halving(12).rungs == [6, 12] and halving(2).rungs == [1, 2], "by default"
    assert halving(8, first=2, factor=2).rungs == [2, 4, 8]
    assert halving(9, first=1, factor=3).rungs == [1, 3, 9]


def test_with_one_objective_it_is_plain_asha() -> None:
    scheduler = halving(9, first=1, factor=3)
    for number, cost in enumerate([5.0, 1.0]):
        scheduler.pause(number, 1, np.array([cost]))
    assert scheduler.promote() is None, "one in three of two is nobody"
    scheduler.pause(2, 1, np.array([3.0]))
    assert scheduler.promote() == (1, 3)
    assert scheduler.promote() is None
    for number, cost in ((3, 9.0), (4, 0.0), (5, 9.0)):
        scheduler.pause(number, 1, np.array([cost]))
    assert scheduler.promote() == (4, 3), "the two best of six are 4 and 1, and 1 has gone already"
    for number, cost in ((1, 1.0), (4, 2.0), (2, 3.0)):
        scheduler.pause(number, 3, np.array([cost]))
    assert scheduler.promote() == (1, None), "the highest rung goes first"


def test_few_trials_are_trained_to_the_end_and_only_those_stand_on_the_front(tmp_path: Path) -> None:
    table = Simulation(space(sampler="random"), tmp_path).run().table()  # one that learns has more promoted
    epochs = Counter(table["epochs"].tolist())
    assert table["state"].isin(["complete", "pruned"]).all(), "nothing stays open"
    assert sorted(epochs) == [1, 3, 9]
    assert len(table) == 27
    assert (table["state"] == "complete").tolist() == (table["epochs"] == 9).tolist()
    assert 2 <= epochs[9] <= 4
    assert set(front_of(table, ["accuracy", "macs"])["epochs"]) == {9}
    pruned = table[table["state"] == "pruned"]
    assert pruned["reason"].str.match(r"paused after \d epochs, and not among the 1 in 3 that go on").all()


def test_a_rung_sends_on_its_front(tmp_path: Path) -> None:
    """Both ends of accuracy against MACs reach the end, not the most accurate alone."""
    ledger = Simulation(space(sampler="random", trials=30), tmp_path).run()
    table = ledger.table()
    complete = table[table["state"] == "complete"]
    assert complete["macs"].min() <= table["macs"].quantile(0.2)
    for trial in ledger.trials:
        reached = list(read_rungs(trial.job.directory))
        assert reached == [1, 3][: len(reached)], "from rung to rung, none left out"


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_the_seed_alone_determines_it(tmp_path: Path, sampler: str) -> None:
    wanted = space(sampler=sampler, budget={"macs": 1_100_000}, trials=14)
    straight = Simulation(wanted, tmp_path / "straight", order=1, fail={3}).run()
    reordered = Simulation(wanted, tmp_path / "reordered", order=2, workers=3, fail={3}).run()
    assert sequence(reordered) == sequence(straight)

    killed, kills = killed_and_resumed(wanted, tmp_path / "killed", steps=5)
    assert kills > 2
    assert sequence(killed) == sequence(straight)


def test_a_longer_search_goes_on_from_there(tmp_path: Path) -> None:
    before = Simulation(space(trials=12), tmp_path).run().table()
    after = Simulation(space(trials=24), tmp_path).run().table()
    assert len(after) == 24
    assert after["state"][:12].tolist() == before["state"].tolist()
    assert not (after["state"] == "running").any()


def test_what_cannot_be_said_of_halving() -> None:
    with pytest.raises(SpaceError, match="halving trains every genome once"):
        space(repeat=2)
    with pytest.raises(SpaceError, match="the first rung, 9 epochs, is the whole training of 9"):
        space(halving={"first": 9})
