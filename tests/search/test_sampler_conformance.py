"""Every registered sampler, in every variant listed here, obeys the same rules. A new sampler joins by being
registered: its default options are tested at once, and `VARIANTS` is where its other options are added."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from nas.engine import Outcome
from nas.errors import SpaceError
from nas.metrics import estimator
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.budget import Budget
from nas.search.samplers import SAMPLERS, Sampler, SamplerOptions, make_sampler, sampler_options
from nas.search.space import Assignment, SearchSpace
from tests.search.simulation import LAVIT, Killed, Simulation, sequence

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "tpe": [{"startup": 3}],
    "cost_aware": [{"startup": 3, "pool": 50}],
    "gp": [{"startup": 3}],
    "nsga2": [{"population": 3}],
    "nsga3": [{"population": 3}],
}
CASES = [{"name": name, **options} for name in SAMPLERS for options in [{}, *VARIANTS.get(name, [])]]
IDS = ["-".join(str(value) for value in case.values()) for case in CASES]

EVERY_KIND = """
base: lavit_digits
parameters:
  stages.0.split: {int: [1, 3]}
  stages.1.depth: {int: [2, 8], log: true}
  stages.1.mlp_ratio: {float: [1.0, 3.0], step: 0.5}
  stages.{0,1}.core: {choice: [softmax, {block: softmax, relative: true}]}
  loss.diagonal.variant: {choice: [off, hinge, flipped]}
  loss.diagonal.weight: {float: [1.0e-4, 1.0e-1], log: true, when: {loss.diagonal.variant: [hinge, flipped]}}
  drop_path: {float: [0.0, 0.3]}
"""
FINITE = """
base: lavit_digits
parameters:
  stages.{0,1}.split: {int: [1, 3]}
  loss.diagonal.variant: {choice: [off, hinge]}
  loss.diagonal.weight: {choice: [0.01, 0.1], when: {loss.diagonal.variant: hinge}}
"""
OBJECTIVES = ["accuracy", "macs", "params", "throughput"]
STATES = ("complete", "complete", "failed", "complete", "infeasible", "pruned")
SLOW = {"gp": 6}  # trials; it takes a second or more per suggestion


def space_for(case: dict[str, Any]) -> SearchSpace:
    """All kinds of parameters; a finite space for a sampler that enumerates it."""
    spec = SearchSpec.parse(parse_yaml(FINITE if SAMPLERS[case["name"]].ends else EVERY_KIND))
    return spec.space(spec.genome())


def made(case: dict[str, Any], objectives: list[str], seed: int = 5) -> Sampler:
    sampler = make_sampler(sampler_options(case), space_for(case), objectives, seed=seed)
    sampler.prepare(estimator(), Budget())
    return sampler


def outcome_of(number: int) -> Outcome:
    """Failed, refused, pruned and complete by turns; the values are arbitrary, and some are equal."""
    state = STATES[number % len(STATES)]
    rng = Random(number % 9)
    known = {"macs": rng.randrange(100), "params": rng.randrange(100), "throughput": 1 + rng.random()}
    accuracy = rng.random() if state in ("complete", "pruned") else None
    return Outcome(state, accuracy=accuracy, costs=known if number % 12 != 4 else {})


def tell(sampler: Sampler, number: int, assignment: Assignment) -> None:
    outcome = outcome_of(number)
    sampler.accept(number, assignment, 2 * number, 0.5 if outcome.state == "infeasible" else -0.1)
    sampler.tell(number, outcome)


def suggestions(sampler: Sampler, count: int, known: list[Assignment] | None = None) -> list[Assignment]:
    """The first suggestions, of which those in `known` are accepted without being asked for."""
    asked = list(known or [])
    for number, assignment in enumerate(asked):
        tell(sampler, number, assignment)
    for number in range(len(asked), count):
        assignment = sampler.ask(2 * number)
        if assignment is None:
            break
        if number % 3 == 0 and not sampler.ends:
            sampler.ask(2 * number + 1)  # asked for, and not accepted
        tell(sampler, number, assignment)
        asked.append(assignment)
    return asked


def count_of(case: dict[str, Any]) -> int:
    return SLOW.get(case["name"], 24)


@pytest.mark.parametrize("case", CASES, ids=IDS)
@pytest.mark.parametrize("objectives", [OBJECTIVES[:1], OBJECTIVES], ids=["one", "four"])
def test_suggestions_are_valid_and_a_function_of_the_seed(case: dict[str, Any], objectives: list[str]) -> None:
    sampler = made(case, objectives)
    asked = suggestions(sampler, count_of(case))
    assert len(asked) > 5
    for assignment in asked:
        active = sampler.space.assign(lambda parameter, assignment=assignment: assignment[parameter.path])
        assert active == assignment, "all parameters that exist, and no others"
        assert all(p.holds(assignment[p.path]) for p in sampler.space.parameters if p.path in assignment)
    assert len({str(assignment) for assignment in asked}) > 3

    assert suggestions(made(case, objectives), count_of(case)) == asked
    if not sampler.ends:
        assert suggestions(made(case, objectives, seed=6), count_of(case)) != asked


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_rebuilt_sampler_continues_the_sequence(case: dict[str, Any]) -> None:
    """The trials before are accepted and told as a ledger has them, without an `ask`."""
    asked = suggestions(made(case, OBJECTIVES[:2]), count_of(case))
    for known in (1, len(asked) // 2):
        assert suggestions(made(case, OBJECTIVES[:2]), count_of(case), asked[:known]) == asked


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_a_search_does_not_depend_on_workers_or_kills(case: dict[str, Any], tmp_path: Path) -> None:
    keys = {"sampler": case, "trials": min(10, count_of(case)), "budget": {"macs": 980_000}}
    spec = SearchSpec.parse(parse_yaml(FINITE if SAMPLERS[case["name"]].ends else LAVIT) | keys)
    straight = Simulation(spec, tmp_path / "straight", order=1, fail={3}).run()
    reordered = Simulation(spec, tmp_path / "reordered", order=2, workers=3, fail={3}).run()
    assert sequence(reordered) == sequence(straight)
    with pytest.raises(Killed):
        Simulation(spec, tmp_path / "killed", order=3, fail={3}).run(kill_after=5)
    assert sequence(Simulation(spec, tmp_path / "killed", order=4, fail={3}).run()) == sequence(straight)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_options_are_validated_and_settled(name: str) -> None:
    with pytest.raises(SpaceError, match=f"the sampler {name} takes no 'colour'; allowed: .*lag") as caught:
        sampler_options({"name": name, "colour": 1})
    assert caught.value.path == "colour"
    options = sampler_options(name)
    settled = options.settled(trials=100, slots=3)
    assert settled.lag == 6
    assert settled.settled(trials=7, slots=1) == settled, "for the life of the run"
    assert sampler_options(settled.model_dump(mode="json")) == settled
    assert None not in settled.model_dump().values()
    assert sampler_options({"name": name, "lag": 0}).settled(trials=9, slots=3).lag == 0


def test_a_new_sampler_is_one_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class DiagonalSampler(Sampler):
        class Options(SamplerOptions):
            steps: int = 4

        options: Options

        def ask(self, draw: int) -> Assignment:
            place = draw % self.options.steps / self.options.steps
            return self.space.assign(lambda parameter: parameter.at(place))

    monkeypatch.setitem(SAMPLERS._members, "diagonal", DiagonalSampler)
    spec = SearchSpec.parse(parse_yaml(FINITE) | {"sampler": {"name": "diagonal", "steps": 3}, "trials": 3})
    assert spec.model_dump(mode="json")["sampler"] == {"name": "diagonal", "steps": 3, "lag": None}
    splits = [trial.job.parameters["stages.0.split"] for trial in Simulation(spec, tmp_path).run().trials]
    assert splits == [2, 1, 3], "the base, then what is suggested, but for the base again"
