"""A metric of a user's own: one function, and then an objective, a budget and a column like any other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.engine import Ledger
from nas.errors import SpecError
from nas.genome import Genome, load_genome
from nas.metrics import estimator, metric
from nas.registry import Registry
from nas.report.figures import drawings
from nas.report.run import read_run
from nas.search import SearchSpec
from tests.report.synthetic import write_facts
from tests.search.simulation import Simulation

SPACE = {
    "base": "lavit_digits",
    "parameters": {"stages.{0,1}.split": {"int": [1, 3]}},
    "objectives": {"accuracy": "max", "attentions": "max"},
    "budget": {"attentions": 4, "macs": None},
    "sampler": "random",
    "trials": 4,
}


Odd = Callable[..., None]


@pytest.fixture
def odd() -> Iterator[Odd]:
    """Registers the metric `odd` with an answer, in Python."""

    def register(answer: str, **options: Any) -> None:
        made = metric("odd", direction="min", known="formula", heading="odd", **options)
        made(lambda genome: eval(answer, {"genome": genome, "sys": sys}))

    yield register
    Registry.forget(__name__)


@pytest.fixture
def attentions() -> Iterator[None]:
    @metric("attentions", direction="max", known="formula", heading="attentions", whole=True)
    def attentions(genome: Genome) -> int:
        return sum(layer.core.block == "softmax" for stage in genome.layout for layer in stage.layers)

    yield
    Registry.forget(__name__)


def test_one_function_is_an_objective_a_budget_and_a_column(attentions: None, tmp_path: Path) -> None:
    spec = SearchSpec.parse(SPACE)
    assert spec.costs == ["attentions"] and spec.budget.limits == {"attentions": 4}
    costs = estimator(spec.costs)(load_genome("lavit_digits"))
    assert list(costs) == ["macs", "params", "attentions"] and isinstance(costs["attentions"], int)

    table = Simulation(spec, tmp_path).run().table()
    assert list(table.columns)[3:9] == ["accuracy", "accuracy_se", "macs", "params", "throughput", "attentions"]
    assert table["attentions"].dtype == "Int64"
    refused = table[table["state"] == "infeasible"]
    assert ((table["attentions"] >= 4) == (table["state"] == "complete")).all() and len(refused)
    assert "is below the least of 4 by" in refused["reason"].iloc[0]


@pytest.mark.parametrize("name", ["seed", "images_per_second", "winner", "note", "accuracy_top5", "macs_measured"])
def test_a_name_that_the_tables_use_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match=f"metric '{name}': a column of the tables or a key of a trial has this name"):
        metric(name, direction="max", known="formula", heading=name)


def test_a_run_can_be_reported_where_the_plug_in_is_not(tmp_path: Path) -> None:
    metric("attentions", direction="max", known="formula", heading="attentions")(lambda genome: len(genome.stages))
    try:
        Simulation(SearchSpec.parse(SPACE | {"budget": {}}), tmp_path).run().write_table()
    finally:
        Registry.forget(__name__)
    write_facts(tmp_path, objectives=SPACE["objectives"], budget={"attentions": 4})
    run = read_run(tmp_path)
    assert len(run.front) and run.front["attentions"].notna().all()
    assert {drawing.name for drawing in drawings(run)} >= {"accuracy_macs", "hypervolume"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "minimise", "known": "formula"}, "a direction is max or min"),
        ({"direction": "min", "known": "table"}, "`batch_size` goes with"),
        ({"direction": "min", "known": "formula", "batch_size": 1}, "`batch_size` goes with"),
    ],
)
def test_a_metric_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        metric("odd", heading="odd", **options)


@pytest.mark.parametrize("answer", ["1 / 0", "'many'", "float('nan')", "sys.exit()", "True"])
def test_an_error_in_a_metric_is_named_with_its_file(odd: Odd, answer: str) -> None:
    odd(answer, whole=True)
    with pytest.raises(SpecError, match=r"test_plugin.py: the metric 'odd' cannot be worked out: \w+(Error|Exit): "):
        estimator(["odd"])(load_genome("lavit_digits"))


def test_an_interrupt_in_a_metric_stays_one(odd: Odd) -> None:
    odd("(_ for _ in ()).throw(KeyboardInterrupt)")
    with pytest.raises(KeyboardInterrupt):
        estimator(["odd"])(load_genome("lavit_digits"))


@pytest.mark.parametrize(
    ("whole", "answer", "message"),
    [
        (False, "-3", "expected a finite number from 0 on, found -3"),
        (False, "float('nan')", "expected a finite number from 0 on, found nan"),
        (False, "float('inf')", "expected a finite number from 0 on, found inf"),
        (False, "10**400", "OverflowError"),
        (True, "-1", r"expected a whole number from 0 to 2\*\*63 - 1, found -1"),
        (True, "2**70", rf"expected a whole number from 0 to 2\*\*63 - 1, found {2**70}"),
    ],
)
def test_a_value_that_no_file_can_hold_is_refused_before_it_is_written(
    odd: Odd, tmp_path: Path, whole: bool, answer: str, message: str
) -> None:
    odd(f"1 if genome.stages[0].split == 2 else {answer}", whole=whole)  # the base's is 2
    spec = SearchSpec.parse(SPACE | {"objectives": {"accuracy": "max", "odd": "min"}, "budget": {}})
    simulation = Simulation(spec, tmp_path)
    with pytest.raises(SpecError, match=f"test_plugin.py: the metric 'odd' cannot be worked out: .*{message}"):
        simulation.run()
    assert [trial.job.costs["odd"] for trial in Ledger(tmp_path).trials] == [1]


@pytest.mark.parametrize("whole", [False, True])
def test_the_largest_values_are_read_as_they_were_written(odd: Odd, tmp_path: Path, whole: bool) -> None:
    odd("2**63 - 1" if whole else "1e308", whole=whole)
    spec = SearchSpec.parse(SPACE | {"objectives": {"accuracy": "max", "odd": "min"}, "budget": {}})
    Simulation(spec, tmp_path).run()
    assert {trial.job.costs["odd"] for trial in Ledger(tmp_path).trials} == {2**63 - 1 if whole else 1e308}
