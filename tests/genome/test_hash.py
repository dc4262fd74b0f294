"""Hashes are those of version 0.1, and a key that a later version adds does not move them while it has its default."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import create_model

import nas.genome.layout as layout
from nas.blocks import BlockConfig, registered
from nas.blocks.base import Site
from nas.blocks.scores import ScoreForm
from nas.genome import Genome, load_genome
from nas.genome.hash import hash_of
from nas.genome.schema import Diagonal, Loss
from nas.search import load_space

HERE = Path(__file__).parent
PINNED = json.loads((HERE / "hashes.json").read_text())  # made by version 0.1
BENCHMARKS = HERE.parents[1] / "benchmarks"
FIXTURES = HERE.parent / "fixtures" / "v0_1"
LAVIT = load_genome("lavit_digits")
HINGE = LAVIT.edit({"loss.diagonal.variant": "hinge"})


@pytest.mark.parametrize("name", PINNED["presets"])
def test_presets(name: str) -> None:
    assert load_genome(name).hash == PINNED["presets"][name]


@pytest.mark.parametrize("case", PINNED["lavit_digits"], ids=lambda case: " ".join(case["edits"]))
def test_blocks_and_options(case: dict[str, Any]) -> None:
    assert LAVIT.edit(case["edits"]).hash == case["hash"]


def test_the_replayed_genomes() -> None:
    base = load_space(BENCHMARKS / "replay.yaml").genome()
    with (BENCHMARKS / "replay.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert [base.edit(json.loads(row["parameters"])).hash for row in rows] == [row["hash"] for row in rows]


@pytest.mark.parametrize("run", sorted(path.name for path in FIXTURES.iterdir() if path.is_dir()))
def test_trials_of_version_0_1(run: str) -> None:
    for trial in (FIXTURES / run).glob("trials/*/trial.json"):
        assert Genome.from_file(trial.with_name("genome.yaml")).hash == json.loads(trial.read_text())["hash"]


values = st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=3), st.lists(st.integers(), max_size=2))


def wider(model: type, default: Any) -> Any:
    """The same model in a later version, which has one key more."""
    return create_model(model.__name__, __base__=model, later=(Any, default))


@pytest.mark.parametrize("default", [0, False, None, "off", [], {"a": 1}], ids=str)
def test_a_later_key_of_a_genome(default: Any) -> None:
    Later = wider(Genome, default)
    data = LAVIT.model_dump()

    @given(values)
    def hashes(value: Any) -> None:
        assert (hash_of(Later.parse(data | {"later": value})) == LAVIT.hash) == (value == default)

    assert hash_of(Later.parse(data)) == hash_of(Later.parse(data | {"later": default})) == LAVIT.hash
    hashes()


@pytest.mark.parametrize("genome", [LAVIT, HINGE], ids=["off", "on"])
def test_a_later_key_of_the_loss(genome: Genome) -> None:
    def of(**given: Any) -> str:
        return hash_of(genome.model_copy(update={"loss": wider(Loss, 0.0)(diagonal=genome.loss.diagonal, **given)}))

    assert of() == of(later=0.0) == genome.hash
    assert of(later=0.1) != genome.hash


def test_a_later_key_of_the_diagonal_loss() -> None:
    def of(**given: Any) -> str:
        diagonal = wider(Diagonal, 1)(**HINGE.loss.diagonal.model_dump(), **given)
        return hash_of(HINGE.model_copy(update={"loss": Loss.model_construct(diagonal=diagonal)}))

    assert of() == of(later=1) == HINGE.hash
    assert of(later=2) != HINGE.hash


SLOTS = [(slot, name) for slot in ("core", "auxiliary", "local") for name in registered(slot)]


def laid_out(genome: Genome, plan: type, remade: Any) -> str:
    """The hash once every `plan` in the layout is replaced by what `remade` makes of it."""

    def through(value: Any) -> Any:
        if isinstance(value, tuple):
            parts = [through(part) for part in value]
            same = type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
            return remade(same) if isinstance(value, plan) else same
        return remade(value) if isinstance(value, plan) else value

    other = genome.model_copy()
    other.__dict__["layout"] = through(genome.layout)
    return hash_of(other)


@pytest.mark.parametrize(("slot", "name"), SLOTS)
def test_a_later_option_of_a_block(slot: str, name: str) -> None:
    Later = wider(registered(slot)[name].Config, "as before")  # type: ignore[arg-type]

    def of(config: BlockConfig) -> str:
        return laid_out(LAVIT, layout.LayerPlan, lambda layer: layer._replace(**{slot: config}))

    plain = of(registered(slot)[name].Config())  # type: ignore[arg-type]
    assert of(Later()) == of(Later(later="as before")) == plain
    assert of(Later(later="other")) != plain


@pytest.mark.parametrize("plan", [layout.StagePlan, layout.LayerPlan, Site, ScoreForm], ids=lambda plan: plan.__name__)
def test_a_later_field_of_a_plan(plan: Any) -> None:
    Later: Any = NamedTuple(plan.__name__, [(field, Any) for field in (*plan._fields, "later")])  # type: ignore[misc]
    Later._field_defaults = plan._field_defaults | {"later": 0}
    genome = LAVIT.edit({"stages.1.attention_residual": "flat"})
    assert laid_out(genome, plan, lambda made: Later(*made, 0)) == genome.hash
    assert laid_out(genome, plan, lambda made: Later(*made, 1)) != genome.hash


class Mean(BlockConfig):
    block: Literal["mean"] = "mean"
    taps: int = 3


class Median(BlockConfig):
    block: Literal["median"] = "median"
    taps: int = 3


def test_a_plug_in_is_its_name_and_what_is_not_default() -> None:
    def of(config: BlockConfig) -> str:
        return laid_out(LAVIT, layout.LayerPlan, lambda layer: layer._replace(core=config))

    assert of(Mean()) == of(Mean(taps=3)) == of(wider(Mean, None)())
    assert len({of(Mean()), of(Mean(taps=5)), of(Median()), of(wider(Mean, None)(later=1))}) == 4
