"""A search that goes by the latency of another device: what its table must have, and what the run keeps of it."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from nas.engine import Event, Pool
from nas.errors import BudgetError, GenomeError, RunError, SpaceError, SpecError
from nas.files import write_text
from nas.genome import load_genome
from nas.metrics import estimator
from nas.plain_yaml import dump_yaml, read_yaml
from nas.profiling import TargetTable
from nas.profiling.parts import parts
from nas.report.dry_run import dry_run_table
from nas.report.pick import best_winner
from nas.report.run import read_run
from nas.report.tables import front_table
from nas.search import SearchSpec, load_space, search
from nas.search.dry_run import dry_run
from nas.search.target import command, read_target, said, timed_on
from tests.profiling.target import table_for, table_of
from tests.report.described import undescribed

MIXED = load_genome("mixed_digits")
PARAMETERS = {"stages.1.layers.{0..3}.core": {"choice": ["softmax", "linear_angular"]}}
SLOW = "linear_angular"


def spec(**keys: Any) -> SearchSpec:
    given = {"base": "mixed_digits", "parameters": PARAMETERS, "training": {"epochs": 1, "limit": 200}, "trials": 3}
    return SearchSpec.parse(given | {"sampler": "random", "workers": {"count": 1}} | keys)


def table(**given: Any) -> TargetTable:
    """A millisecond for a part, and two for each linear-angular layer."""
    space = spec().space(MIXED)
    made = table_for((space.genome(each) for each in space.every()), **given)
    return table_of({key: 0.002 if SLOW in key else 0.001 for key in made.seconds}, **given)


LEAST = 1000 * table().seconds_of(MIXED)  # of 2 stages, 7 layers and the head: the base has softmax alone


@pytest.fixture
def file(tmp_path: Path) -> Path:
    table().write(tmp_path / "table.json")
    return tmp_path / "table.json"


def test_latency_is_that_of_the_table_and_throughput_is_not() -> None:
    costs = estimator(["latency", "macs"], target=table())(MIXED)
    assert costs["latency"] == pytest.approx(LEAST) == pytest.approx(10)
    batched = estimator(["latency"], target=table(batch_size=8))(MIXED)
    assert batched["latency"] == pytest.approx(LEAST), "milliseconds of one batch"
    made = spec(budget={"latency": 4, "throughput": 9, "table": "t.json"})
    assert made.costs == ["macs", "latency", "throughput"] and made.costs_here == ["macs", "throughput"]
    assert spec(budget={"latency": 4}).costs_here == ["macs", "latency"]


def test_a_file_names_its_table_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "spaces").mkdir()
    content = {"base": "mixed_digits", "parameters": PARAMETERS, "budget": {"latency": 4, "table": "t.json"}}
    write_text(tmp_path / "spaces/s.yaml", dump_yaml(content))
    made = load_space(tmp_path / "spaces/s.yaml")
    assert made.budget.table == str(tmp_path / "spaces/t.json")
    assert made.with_settings({"budget.latency": 3}).budget.table == made.budget.table
    assert made.with_settings({"budget.table": None}).budget.model_dump() == {"latency": 4}


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"macs": 1e9, "table": "t.json"}, r"budget\.table: it is for latency, which is neither"),
        ({"latency": 4, "table": 3}, r"budget\.table: expected text, found 3"),
        ({"latency": 4, "tabel": "t.json"}, r"budget\.tabel: unknown key; .*did you mean table"),
        ({"latency": "4 ms", "table": "t.json"}, r"budget\.latency: expected a number"),
    ],
    ids=str,
)
def test_wrong_budgets(budget: dict[str, Any], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        spec(budget=budget)


def test_elsewhere_a_table_is_refused(tmp_path: Path) -> None:
    from nas.convert.spec import ConversionSpec

    with pytest.raises(SpaceError, match=r"budget\.table: a conversion goes by times of its own machine"):
        ConversionSpec.parse({"start": "w.yaml", "budget": {"latency": 4, "table": "t.json"}})
    with pytest.raises(RunError, match=r"limits: table: no limit"):
        best_winner(tmp_path, {"table": 4})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"image": (3, 32, 32)}, r"was measured for images of 3×32×32, and those of this search are 1×8×8"),
        ({"classes": 100}, r"was measured for 100 classes, and this search has 10"),
    ],
    ids=str,
)
def test_a_table_for_other_images_is_refused(file: Path, given: dict[str, Any], message: str) -> None:
    made = spec(budget={"latency": 12, "table": str(file)}, name="mixed")
    with pytest.raises(SpaceError, match=rf"table\.json: budget\.table: the table {message}.*nas latency mixed --out"):
        timed_on(table(**given), made, made.space(MIXED))


def test_a_table_that_lacks_a_part_is_refused_with_the_command_that_measures_it(file: Path) -> None:
    made = spec(budget={"latency": 12, "table": str(file)}, name="my space", seed=1)
    short = table_of({key: value for key, value in table().seconds.items() if SLOW not in key}, base=MIXED.hash)
    with pytest.raises(SpaceError) as refused:
        timed_on(short, made, made.space(MIXED))
    assert str(refused.value).startswith(f"{file}: budget.table: the table lacks parts of the space: a layer of {SLOW}")
    assert command(short, made, made.space(MIXED)) == (
        "nas latency SPACE --out table.json --batch-size 1 --threads 4 --runtime torch"
        " --image-size 8 --channels 1 --classes 10, with the --set of the search"
    )
    with pytest.raises(SpaceError, match="measured for elsewhere, around another base"):
        timed_on(table_for([MIXED]), made, made.space(MIXED))


def test_a_fit_to_models_that_leave_sums_open_is_refused(file: Path) -> None:
    made = spec(budget={"latency": 12, "table": str(file)})
    whole = table()
    fit = table_of(whole.seconds, None, models=((1,) * len(whole.seconds),), runtime="onnx")
    with pytest.raises(SpaceError, match="is fitted to whole models of elsewhere, which do not determine the times of"):
        timed_on(fit, made, made.space(MIXED))


def test_a_table_of_another_space_with_all_parts_is_accepted_and_said(file: Path) -> None:
    made = spec(budget={"latency": 12, "table": str(file)})
    space = timed_on(table(), made, made.space(MIXED))
    assert "measured for elsewhere around another base, which has all parts" in said(table(), made, space)
    assert "another base" not in said(table(base=MIXED.hash), made, space)
    assert space.sample(Random(0)) is not None
    rare = table_for([MIXED])
    with pytest.raises(GenomeError, match="lacks a layer of linear_angular"):
        made.space(MIXED).timed_by(rare).genome({"stages.1.layers.2.core": SLOW})


@pytest.mark.parametrize("content", [None, "{"])
def test_a_missing_or_damaged_table_is_found_before_anything_is_written(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "t.json").write_text(content)
    made = spec(budget={"latency": 12, "table": str(tmp_path / "t.json")})
    with pytest.raises(
        SpecError, match=r"budget\.table: no such file: .*t\.json" if content is None else r"t\.json: not"
    ):
        search(made, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_preview_names_the_device(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = spec(budget={"latency": 11.5, "table": str(file)})
    events: list[Event] = []
    found = dry_run(made, on_event=events.append)
    assert found.costs[0]["latency"] == pytest.approx(LEAST) and 0 < found.feasible < 1 and not found.untimed
    assert any("latency is that of Jetson, torch" in event.data["text"] for event in events)
    console = Console(width=200)
    console.print(dry_run_table(found))
    text = capsys.readouterr().out
    assert "latency at most 11.50 ms on Jetson" in text and "latency ms (Jetson)" in text
    with pytest.raises(BudgetError, match=r"at best, latency 10 is over the budget of 5"):
        dry_run(spec(budget={"latency": 5, "table": str(file)}))


@pytest.mark.timeout(300)
def test_a_run_keeps_its_table_and_goes_by_it(
    file: Path, tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    made = spec(budget={"latency": 11.5, "table": str(file)}, objectives={"accuracy": "max", "latency": "min"})
    result = search(made, run)
    assert TargetTable.read(run / "target.json") == table() and not (run / "latency-1.json").exists()
    assert read_yaml(run / "run.yaml")["spec"]["budget"] == {"latency": 11.5, "table": "target.json"}
    for row in result.trials.to_dict("records"):
        genome = load_genome(run / "trials" / row["trial"] / "genome.yaml")
        slow = sum(SLOW in key for key in parts(genome).values())
        assert row["latency"] == pytest.approx(LEAST + slow)
        assert (row["state"] == "infeasible") == (slow > 1)
    assert {"complete", "infeasible"} <= set(result.trials["state"])
    assert "latency_measured" not in result.front and result.front["throughput_measured"].notna().all()
    assert undescribed(run) == []

    opened = read_run(run)
    Console(width=200).print(front_table(opened.front, opened.layers, opened.worded))
    assert "latency ms (Jetson)" in capsys.readouterr().out
    assert " ms on Jetson" in str(best_winner(run, {"latency": 12}))

    file.unlink()  # the run has its own
    again = search(made.with_settings({"trials": 4}), run)
    columns = ["trial", "hash", "state", "latency"]
    pd.testing.assert_frame_equal(again.trials[columns][: len(result.trials)], result.trials[columns])
    assert len(again.trials) > len(result.trials)

    other = table(device="Pixel")
    other.write(file)
    with pytest.raises(RunError, match=r"budget\.table: .*table\.json is another table than the run was begun with"):
        search(made, run)
    (run / "target.json").write_text(json.dumps({}))
    with pytest.raises(SpecError, match=r"target\.json: .*not a table"):
        search(made, run)
    (run / "target.json").unlink()
    with pytest.raises(RunError, match=r"target\.json: the table that the run goes by is gone"):
        search(made, run)
    with pytest.raises(RunError, match=r"spec\.budget\.table: the run was begun with 'target\.json'"):
        search(spec(budget={"latency": 11.5}, objectives={"accuracy": "max", "latency": "min"}), run)


def test_a_run_that_has_not_begun_takes_the_file(file: Path, tmp_path: Path) -> None:
    table(device="Pixel").write(tmp_path / "run" / "target.json")  # of a start that was killed
    made = spec(budget={"latency": 12, "table": str(file)})
    assert read_target(made) == table()
    assert read_target(spec()) is None
