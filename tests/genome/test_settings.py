"""Settings of spaces and ablations: both know the same ones, and answer a mistake with the same SpecError."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.ablation import Ablation, parse_ablation
from nas.errors import SpecError
from nas.genome import load_genome
from nas.genome.settings import with_settings
from nas.search import SearchSpec

STAGE = {"patch": 2, "width": 32, "heads": 2, "depth": 2, "split": 1}
BASE: dict[str, Any] = {"image": {"size": 8, "channels": 1}, "classes": 10, "stages": [STAGE]}


def both(base: Any) -> tuple[SearchSpec, Ablation]:
    space = SearchSpec.parse({"base": base, "parameters": {"stages.0.split": {"int": [1, 2]}}})
    return space, parse_ablation({"base": base, "arms": {"plain": {}, "one": {"stages.0.split": 2}}})


@pytest.mark.parametrize("spec", both(BASE), ids=["space", "ablation"])
def test_what_both_have_is_set_in_both(spec: Any) -> None:
    changes = {
        "base.stages.0.width": 48,
        "base.stages.0.heads": 3,  # of the width that is set beside it
        "base.stages.*.tail.rank": 4,
        "training.teacher.genome": "deit_tiny",
        "training.teacher.weights": "w.safetensors",
        "training": {"epochs": 3},
        "workers.cpu": 2,
        "name": "other",
    }
    made = spec.with_settings(changes)
    assert (made.training.epochs, made.training.teacher.genome, made.workers.cpu) == (3, "deit_tiny", 2)
    (stage,) = made.genome().stages
    assert (stage.width, stage.heads, stage.depth, stage.tail.rank) == (48, 3, 2, 4)
    assert spec.base == BASE


def test_a_base_may_be_set_and_edited_at_once() -> None:
    whole = load_genome("mixed_digits").model_dump(mode="json", exclude_defaults=True)
    for spec in both("lavit_digits"):
        made = spec.with_settings({"base.classes": 7, "base": whole})
        assert made.genome().hash == load_genome("mixed_digits").edit({"classes": 7}).hash


def test_keys_with_dots_and_parts_at_their_default() -> None:
    space, ablation = both(BASE)
    made = space.with_settings({"parameters.stages.*.heads": {"choice": [1, 2]}, "objectives.params": "min"})
    assert list(made.parameters) == ["stages.0.split", "stages.*.heads"]
    assert made.objectives == {"accuracy": "max", "macs": "min", "params": "min"}
    table = ablation.with_settings(
        {"arms.one.stages.*.core": "hydra", "factors.f": {"a": {}}, "factors.f.b.classes": 7}
    )
    assert table.arms["one"] == {"stages.0.split": 2, "stages.*.core": "hydra"}
    assert table.factors == {"f": {"a": {}, "b": {"classes": 7}}}


@pytest.mark.parametrize("sampler", [{"name": "gp", "lag": 1}, "gp"])
def test_a_section_that_is_a_name_is_opened(sampler: Any) -> None:
    space = both(BASE)[0].with_settings({"sampler.startup": 3, "sampler": sampler})
    assert (space.sampler.name, space.sampler.startup) == ("gp", 3)


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        ("lavit_digits", {"base.x": 1}, "--set: base.x: cannot be set: base is a string ('lavit_digits'); to change"),
        (BASE, {"base.x": 1}, "--set: base.x: unknown key"),
        (BASE, {"base.stages.0.widht": 1}, "--set: base.stages.0.widht: unknown key"),
        (BASE, {"base.stages.1.width": 1}, "--set: base.stages.1.width: expected an index below 1 or *, found '1'"),
        (BASE, {"base.stages.0.local.kernel": 3}, "local.kernel: cannot be set: base.stages.0.local is not set"),
        (BASE, {"base.*.size": 1}, "--set: base.*.size: * stands for every element of a list, and base is a mapping"),
        (
            BASE,
            {"base.stages.0.core": {"block": []}},
            "--set: base.stages.0.core: expected a core block, as a name or a mapping",
        ),
        (BASE | {"classes": 0}, {"base.pool": "token"}, "base.classes: expected at least"),
        (
            BASE,
            {"training": 3, "training.epochs": 2},
            "training.epochs: cannot be set: training is a number (3)",
        ),
        (BASE, {"training": "x" * 999}, "--set: training: expected a mapping"),
    ],
)
def test_the_same_mistake_is_the_same_message(base: Any, changes: dict[str, Any], message: str) -> None:
    said = set()
    for spec in both(base):
        with pytest.raises(SpecError) as caught:
            spec.with_settings(changes)
        said.add(str(caught.value))
    assert len(said) == 1 and message in said.pop()


PARTS = ["stages", "core", "layers", "local", "split", "size", "block", "auxiliary", "epsilon", "epochs"]
ODD = ["", "x", "0", "1", "7", "-1", "²", "*", "**", "{0,1}"]
SPECS = [*both(BASE), *both("lavit_digits")]
keys = st.sampled_from([*SearchSpec.model_fields, *Ablation.model_fields, *PARTS, *ODD])
paths = st.lists(keys, min_size=1, max_size=5).map(".".join)
words = st.one_of(st.text(max_size=3), st.sampled_from(["less", "tpe"]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.one_of(keys, paths), inner, max_size=2)),
    max_leaves=4,
)


@settings(max_examples=400)
@given(st.sampled_from(SPECS), st.dictionaries(st.one_of(paths, paths.map("base.{}".format)), values, max_size=3))
def test_any_settings_are_taken_or_refused(spec: Any, changes: dict[str, Any]) -> None:
    with contextlib.suppress(SpecError):
        spec.with_settings(changes).genome()


@given(st.dictionaries(paths, values, max_size=3))
def test_any_settings_of_a_genome_are_taken_or_refused(changes: dict[str, Any]) -> None:
    with contextlib.suppress(SpecError):
        load_genome("mixed_digits").edit(changes)


def test_nothing_given_is_altered() -> None:
    data, changes = {"base": BASE, "sampler": "tpe"}, {"base.stages.0.width": 16, "sampler.lag": 1}
    made = with_settings(data, changes, named=("sampler",))
    assert made["base"]["stages"][0]["width"] == 16 and BASE["stages"][0]["width"] == 32
    assert data == {"base": BASE, "sampler": "tpe"}
