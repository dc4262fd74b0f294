from __future__ import annotations

import math

import pytest
from rich.console import Console

from nas.errors import BudgetError
from nas.report.dry_run import dry_run_table, size
from nas.search import SearchSpec, load_space
from nas.search import dry_run as module
from nas.search.dry_run import dry_run
from nas.search.forecast import Forecast
from nas.search.space import SearchSpace


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forecast without training; it claims ten seconds a genome for the first three."""

    def claimed(spec, genomes, images, *, loading, say):
        return Forecast([10.0] * min(3, len(genomes)), spec.trials, 2, 12.0, 8.0, "cpu")

    monkeypatch.setattr(module, "forecast", claimed)


def shown(spec: SearchSpec) -> list[str]:
    console = Console(width=200, highlight=False)
    with console.capture() as captured:
        console.print(dry_run_table(dry_run(spec)))
    return captured.get().splitlines()


def lavit(**keys: object) -> SearchSpec:
    return load_space("lavit_split").with_settings({path.replace("__", "."): value for path, value in keys.items()})


def test_size_share_time_and_samples():
    lines = shown(lavit(budget__macs=950_000))
    assert lines[0].startswith("lavit_split on digits: 84 combinations, and 1 continuous range on top, 5 parameters")
    share = float(lines[1].split("make a genome and ")[1].split(" %")[0])
    assert 20 < share < 80
    assert lines[2].startswith("estimated time: 140 seconds (24 trainings of 10 seconds, 2 at a time")
    assert "estimated from a few training steps of 3 of the genomes below" in lines[3]
    rows = [line.split() for line in lines[6:]]
    assert [row[0] for row in rows] == ["base"] + ["random"] * 10
    seconds = [row[3 + row.count("k") + row.count("M")] for row in rows]
    assert seconds == ["–", "10", "10", "10"] + ["–"] * 7
    assert all(row[2] == "k" and float(row[1]) <= 950 for row in rows)


def test_a_budget_that_nothing_meets_is_refused_as_a_search_refuses_it():
    with pytest.raises(BudgetError, match="nothing in the space can meet it: at best, macs 878,720"):
        dry_run(lavit(budget__macs=1000))


def test_a_throughput_budget_is_timed_if_that_is_quick(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "MAX_TIMING_SECONDS", 0.0)
    slow = shown(lavit(budget__throughput=100))
    assert slow[2].startswith("whether 100 images/s can be met is known after")
    assert "images/s" not in slow[6]

    monkeypatch.setattr(module, "MAX_TIMING_SECONDS", math.inf)
    few = {"parameters": {"stages.1.split": {"int": [3, 4]}}, "base": "lavit_digits", "budget": {"throughput": 1.0}}
    timed = shown(SearchSpec.parse(few))
    assert "throughput at least 1 images/s" in timed[1]
    assert "images/s" in timed[5]
    with pytest.raises(BudgetError, match=r"throughput .* is below the least of 1,000,000,000"):
        dry_run(SearchSpec.parse(few | {"budget": {"throughput": 1e9}}))


@pytest.mark.parametrize("name", ["castling", "mixed", "lavit_split"])
def test_the_size_is_what_walking_through_the_space_counts(name):
    spec = load_space(name)
    parameters = [p for p in spec.expanded() if p.values is not None]
    space = SearchSpace(spec.genome(), parameters)
    assert size(space) == f"{sum(1 for _ in space.every()):,} combinations"


def test_a_vast_space_is_counted_all_the_same():
    parameters = {f"stages.1.{key}": {"int": [1, 1000]} for key in ("depth", "split", "width", "heads")}
    spec = SearchSpec.parse({"base": "lavit_digits", "parameters": parameters})
    space = SearchSpace.__new__(SearchSpace)  # its constructor would try each value
    space.parameters = tuple(spec.expanded())
    assert size(space) == "1.00e+12 combinations"
