"""What holds for every registered metric; a new one is tested by being there."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nas
from nas.errors import SpaceError
from nas.genome import load_genome
from nas.metrics import METRICS, batch_sizes, signs
from nas.report.tables import cell, heading
from nas.search import SearchSpec
from nas.search.budget import Budget

SMALL = [name for name in nas.list_presets() if name.endswith(("_digits", "_32"))]
COSTS = [name for name, metric in METRICS.items() if metric.budget]
COLUMNS = {"trial", "state", "epochs", "seed", "hash", "seconds", "reason", "winner", "number", "parameters", "note"}
OTHER = {"min": "max", "max": "min"}


def spec(**keys: object) -> SearchSpec:
    return SearchSpec.parse({"base": "lavit_digits", "parameters": {"stages.0.split": {"int": [1, 3]}}} | keys)


@pytest.mark.parametrize("name", list(METRICS))
def test_it_can_be_a_column_with_a_heading_and_a_text(name: str) -> None:
    metric = METRICS[name]
    assert metric.name == name and name.isidentifier() and name not in COLUMNS
    assert metric.direction in ("max", "min") and signs([name]).tolist() == [-1.0 if metric.direction == "max" else 1.0]
    assert heading(name) == metric.heading and metric.heading and metric.axis
    assert cell(name, 0.75) == metric.text(0.75) and cell(name, pd.NA) == "–"
    assert metric.phrase(0.75).startswith(metric.text(0.75))


@pytest.mark.parametrize("preset", SMALL)
@pytest.mark.parametrize("name", [name for name in COSTS if METRICS[name].known == "formula"])
def test_a_formula_is_a_function_of_the_genome(name: str, preset: str) -> None:
    metric = METRICS[name]
    assert metric.batch_size is None
    value = metric.of(load_genome(preset))
    assert value > 0 and value == metric.of(load_genome(preset))
    assert isinstance(value, int if metric.whole else float)


@given(seconds=st.floats(1e-6, 1e3), factor=st.floats(1.001, 1e3))
@pytest.mark.parametrize("name", [name for name in COSTS if METRICS[name].known == "table"])
def test_a_prediction_is_monotone_in_the_seconds(name: str, seconds: float, factor: float) -> None:
    metric = METRICS[name]
    assert batch_sizes([name]) == [metric.batch_size]
    fast, slow = metric.of(seconds), metric.of(seconds * factor)
    assert fast > 0 and slow > 0
    assert slow > fast if metric.direction == "min" else slow < fast


@pytest.mark.parametrize("name", list(METRICS))
def test_it_can_be_an_objective(name: str) -> None:
    direction = METRICS[name].direction
    made = spec(objectives={name: direction})
    assert made.costs == ([name] if METRICS[name].budget else [])
    with pytest.raises(SpaceError, match=rf"objectives\.{name}: expected {direction}"):
        spec(objectives={name: OTHER[direction]})


@pytest.mark.parametrize("name", COSTS)
def test_it_can_be_a_budget(name: str) -> None:
    made = spec(budget={name: 200})
    assert name in made.costs
    budget, worse = made.budget, 400 if METRICS[name].direction == "min" else 100
    assert budget.refusal({name: 200}) is None
    assert budget.violations({name: worse}) == {name: 1.0}
    assert (budget.refusal({name: worse}) or "").startswith(f"{name} {worse} is ")
    assert SearchSpec.parse(made.model_dump(mode="json")).budget == budget


def test_a_training_is_what_no_budget_can_refuse() -> None:
    with pytest.raises(SpaceError, match=r"budget\.accuracy: known only after a training"):
        spec(budget={"accuracy": 0.9})
    assert Budget().limits == {}
