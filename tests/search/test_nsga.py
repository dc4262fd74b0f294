"""The samplers with a memory suggest what Optuna's own do, without going through all trials."""

from __future__ import annotations

import pytest
from optuna import samplers

from nas.engine import Outcome
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.samplers import make_sampler, nsga, sampler_options
from tests.search.simulation import LAVIT


def suggestions(name: str, count: int = 60) -> list[dict[str, object]]:
    """What is asked for in a search whose trials complete, are refused or fail by turns."""
    spec = SearchSpec.parse(parse_yaml(LAVIT))
    space = spec.space(spec.genome())
    options = sampler_options({"name": name, "population": 6})
    sampler = make_sampler(options, space, ["accuracy", "macs"], seed=3)
    asked = []
    for number in range(count):
        assignment = sampler.ask(2 * number)
        sampler.ask(2 * number + 1) if number % 7 == 0 else None  # asked for, and not accepted
        sampler.accept(number, assignment, 2 * number, margin=0.5 if number % 5 == 0 else 0.0)
        state = "infeasible" if number % 5 == 0 else "failed" if number % 11 == 0 else "complete"
        accuracy = number * 37 % 50 / 50 if state == "complete" else None
        sampler.tell(number, Outcome(state, accuracy=accuracy, costs={"macs": number * 13 % 40}))
        asked.append(assignment)
    return asked


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_they_suggest_what_optunas_own_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_memory = suggestions(name)

    def plain(kind: str, memory: nsga.Memory, *, population: int, seed: int) -> samplers.BaseSampler:
        sampler = getattr(samplers, kind)(seed=seed, population_size=population)
        sampler.infer_relative_search_space = lambda study, trial: memory.common
        return sampler

    monkeypatch.setattr(nsga, "with_memory", plain)
    monkeypatch.setattr(nsga.Memory, "add", lambda memory, trial: None)
    assert suggestions(name) == with_memory
    assert len({str(assignment) for assignment in with_memory}) > 20
