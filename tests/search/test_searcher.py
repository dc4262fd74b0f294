"""The search's logic without Ray: what is suggested, refused, repeated and resumed."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from nas.errors import SpecError
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from tests.search.simulation import LAVIT, Simulation, killed_and_resumed, sequence

SAMPLERS = ["cost_aware", "tpe", "nsga2", "nsga3", "gp", "random", "qmc"]


def spec(**keys: object) -> SearchSpec:
    return SearchSpec.parse(parse_yaml(LAVIT) | {"trials": 14} | keys)


def grid(**keys: object) -> SearchSpec:
    parameters = {"stages.0.split": {"int": [1, 3]}, "stages.1.split": {"int": [1, 4]}}
    return spec(parameters=parameters, sampler="grid", **keys)


def test_the_base_genome_is_trial_0(tmp_path: Path) -> None:
    simulation = Simulation(spec(), tmp_path)
    first = simulation.run().trials[0].job
    assert first.hash == simulation.space.base.hash
    assert first.parameters == {"stages.0.split": 2, "stages.1.split": 2, "loss.diagonal.variant": "off"}


def test_a_base_outside_of_its_own_space_is_tried_all_the_same(tmp_path: Path) -> None:
    ledger = Simulation(
        spec(parameters={"stages.0.split": {"int": [1, 2]}, "stages.1.split": {"choice": [3, 4]}}), tmp_path
    ).run()
    assert ledger.trials[0].job.parameters == {}
    assert len(ledger.trials) == 5


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_seed_alone_determines_the_search(tmp_path: Path, sampler: str) -> None:
    """Whatever the order in which workers finish, and however often the driver is killed."""
    wanted = spec(sampler=sampler, budget={"macs": 980_000}, trials=14)
    if sampler == "gp":  # a second or more a suggestion, once it has begun
        wanted = wanted.with_settings({"trials": 9, "objectives": {"accuracy": "max"}})
    straight = Simulation(wanted, tmp_path / "straight", order=1, fail={3}).run()

    reordered = Simulation(wanted, tmp_path / "reordered", order=2, fail={3}).run()
    assert sequence(reordered) == sequence(straight)

    killed, kills = killed_and_resumed(wanted, tmp_path / "killed", steps=6)
    assert kills > 1
    assert sequence(killed) == sequence(straight)

    other = Simulation(wanted.with_settings({"seed": 1}), tmp_path / "other").run()
    assert sequence(other) != sequence(straight)


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random", "qmc", "grid"])
def test_no_genome_is_trained_twice_and_a_small_space_ends_the_search(tmp_path: Path, sampler: str) -> None:
    simulation = Simulation(grid(trials=50).with_settings({"sampler": sampler}), tmp_path)
    ledger = simulation.run()
    hashes = [trial.job.hash for trial in ledger.trials]
    assert len(hashes) == len(set(hashes)) == 12
    assert simulation.candidates.message == "every genome of the space is tried: the search ends after 12 trials"


def test_what_is_over_the_budget_is_recorded_without_a_worker(tmp_path: Path) -> None:
    simulation = Simulation(grid(budget={"macs": 930_000, "params": 152_000}, trials=50), tmp_path)
    table = simulation.run().table()
    refused = table[table["state"] == "infeasible"]
    assert ((table["macs"] <= 930_000) & (table["params"] <= 152_000)).eq(table["state"] == "complete").all()
    assert 0 < len(refused) < 12
    assert refused["reason"].str.contains("over the budget of").all()
    assert refused["accuracy"].isna().all()
    assert [event.trial for event in simulation.events if event.kind == "refused"] == refused["trial"].tolist()
    assert table["state"][0] == "complete"


@pytest.mark.parametrize("kind", ["over the budget", "not buildable"])
def test_a_refused_trial_whose_result_is_gone_is_refused_again(tmp_path: Path, kind: str) -> None:
    """It would be trained beyond the budget, and might win."""
    keys = {
        "over the budget": {"budget": {"macs": 930_000}},
        "not buildable": {"parameters": {"stages.0.heads": {"choice": [2, 5]}, "stages.0.width": {"choice": [32, 40]}}},
    }
    wanted = spec(sampler="random", trials=6, **keys[kind])
    before = Simulation(wanted, tmp_path).run().table()
    refused = before.index[before["state"] == "infeasible"]
    assert len(refused)
    for number in refused:
        (tmp_path / "trials" / f"{number:04d}" / "result.json").unlink()
    pd.testing.assert_frame_equal(Simulation(wanted, tmp_path).run().table(), before)


@pytest.mark.parametrize(
    "suggestion",
    [
        *(["stages.0.split", 2], 3, {1: 2}, {"stages.7.split": 1}),
        *({"stages.0.split": value} for value in (np.int64(3), torch.tensor(3), math.nan)),
    ],
    ids=str,
)
def test_what_is_no_assignment_is_refused_and_names_the_sampler(tmp_path: Path, suggestion: Any) -> None:
    simulation = Simulation(spec(sampler="random"), tmp_path)
    simulation.candidates.sampler.ask = lambda draw: suggestion  # type: ignore[method-assign]
    with pytest.raises(SpecError, match=r"^the sampler 'random' suggested .*; expected plain values by path"):
        simulation.run()
    assert len(simulation.ledger.trials) == 1, "the base"


def test_a_sampler_without_further_suggestions_ends_the_search(tmp_path: Path) -> None:
    simulation = Simulation(spec(sampler="random"), tmp_path)
    simulation.candidates.sampler.ask = lambda draw: None  # type: ignore[method-assign]
    assert len(simulation.run().trials) == 1


def test_refused_trials_do_not_count(tmp_path: Path) -> None:
    table = Simulation(spec(sampler="random", budget={"macs": 930_000}, trials=6), tmp_path).run().table()
    assert (table["state"] == "complete").sum() == 6
    assert (table["state"] == "infeasible").any()


def test_what_the_schema_refuses_is_recorded_too(tmp_path: Path) -> None:
    parameters = {"stages.0.heads": {"choice": [2, 5]}, "stages.0.width": {"choice": [32, 40]}}
    table = Simulation(spec(parameters=parameters, trials=9), tmp_path).run().table()
    refused = table[table["state"] == "infeasible"]
    assert refused["reason"].tolist() == [
        "stages.0.heads: heads 5 do not divide width 32; heads that do: [1, 2, 4, 8, 16, 32]"
    ]
    assert refused["macs"].isna().all()
    assert (table["state"] == "complete").sum() == 3


def test_a_grid_is_gone_through_to_its_end(tmp_path: Path) -> None:
    """Though many of its points in a row are one genome: a weight means nothing where the loss is off."""
    weights = [round(0.01 * step, 2) for step in range(1, 12)]
    parameters = {
        "stages.0.split": {"int": [1, 3]},
        "loss.diagonal.variant": {"choice": ["off", "hinge"]},
        "loss.diagonal.weight": {"choice": weights},
    }
    simulation = Simulation(spec(parameters=parameters, sampler="grid", trials=100), tmp_path)
    every = {simulation.space.genome(assignment).hash for assignment in simulation.space.every()}
    tried = {trial.job.hash for trial in simulation.run().trials}
    assert every <= tried and len(every) == 3 * 12


def test_the_first_genome_is_repeated_too(tmp_path: Path) -> None:
    ledger = Simulation(spec(trials=1, repeat=3), tmp_path).run()
    assert [trial.job.note.get("repeat", 0) for trial in ledger.trials] == [0, 1, 2]


def test_more_trials_continue_a_search(tmp_path: Path) -> None:
    Simulation(spec(trials=5), tmp_path / "a").run()
    longer = Simulation(spec(trials=12), tmp_path / "a").run()
    assert sequence(longer) == sequence(Simulation(spec(trials=12), tmp_path / "b").run())


def test_a_suggestion_waits_for_the_outcomes_that_it_must_know(tmp_path: Path) -> None:
    """With a lag of 1, one trial may be open when the next is suggested, never two."""
    simulation = Simulation(spec(trials=6), tmp_path, workers=4, lag=1)
    first, second = simulation.candidates.next(), simulation.candidates.next()
    assert simulation.candidates.next() is not first
    simulation._end(first)  # type: ignore[arg-type]
    third = simulation.candidates.next()
    assert (second.number, third.number) == (1, 2)  # type: ignore[union-attr]


@pytest.mark.parametrize("number", [0, 4, 9])
@pytest.mark.parametrize(
    "keys",
    [
        {"sampler": "random"},
        {"sampler": "tpe"},
        {"sampler": "nsga2", "budget": {"macs": 960_000}},
        {"sampler": "tpe", "halving": {"first": 1, "factor": 3}},
        {"sampler": "random", "repeat": 2},
    ],
)
def test_a_trial_whose_directory_was_deleted_comes_back(tmp_path: Path, keys: dict[str, Any], number: int) -> None:
    wanted = SearchSpec.parse(parse_yaml(LAVIT) | {"trials": 10} | keys)
    whole = sequence(Simulation(wanted, tmp_path).run())
    shutil.rmtree(tmp_path / "trials" / f"{number:04d}")
    assert sequence(Simulation(wanted, tmp_path).run()) == whole
