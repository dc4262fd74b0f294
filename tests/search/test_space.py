from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import GenomeError, SpaceError
from nas.genome import load_genome
from nas.search import list_spaces, load_space
from nas.search.parameter import ParameterSpec, expand
from nas.search.run import resolved
from nas.search.space import SearchSpace
from nas.search.spec import SearchSpec

LAVIT = load_genome("lavit_digits")
MATRIX = {"choice": ["weights", "scores"], "when": {"loss.diagonal.variant": ["hinge", "flipped"]}}
SPLITS = {"stages.{0,1}.split": {"int": [1, 3]}}


def space(parameters: dict[str, Any], base: Any = LAVIT) -> SearchSpace:
    return SearchSpace(base, [p for path, spec in parameters.items() for p in expand(path, ParameterSpec(**spec))])


CONDITIONAL = space(
    {"loss.diagonal.matrix": MATRIX, "loss.diagonal.variant": {"choice": ["off", "hinge", "flipped"]}} | SPLITS
)


@given(seed=st.integers(0, 10**6))
def test_random_assignments_hold_exactly_the_parameters_that_exist(seed: int) -> None:
    drawn = CONDITIONAL.draw(Random(seed))
    assert ("loss.diagonal.matrix" in drawn) == (drawn["loss.diagonal.variant"] != "off")
    assert drawn in list(CONDITIONAL.every())
    assert CONDITIONAL.genome(drawn).stages[0].split == drawn["stages.0.split"]


def test_every_assignment_is_walked_once() -> None:
    every = list(CONDITIONAL.every())
    assert len(every) == 3 * 3 * (1 + 2 * 2)
    assert len({str(sorted(a.items())) for a in every}) == len(every)
    assert len({CONDITIONAL.genome(a).hash for a in every}) == len(every)


def test_the_base_is_recognised_as_a_point_of_the_domain() -> None:
    found = CONDITIONAL.of_base()
    assert found == {"loss.diagonal.variant": "off", "stages.0.split": 2, "stages.1.split": 2}
    assert CONDITIONAL.genome(found).hash == LAVIT.hash


def test_a_continuous_value_of_the_base_is_read_from_it() -> None:
    base = LAVIT.edit({"loss.diagonal.variant": "hinge", "loss.diagonal.weight": 0.02})
    around = space({"loss.diagonal.weight": {"float": [1e-3, 1e-1]}}, base)
    assert around.of_base() == {"loss.diagonal.weight": 0.02}
    assert space({"loss.diagonal.weight": {"float": [0.05, 0.1]}}, base).of_base() is None


def test_a_tied_value_is_found_in_the_base_only_where_all_share_it() -> None:
    tied = {"stages.*.split": {"choice": [1, 2, 3]}}
    assert space(tied).of_base() == {"stages.*.split": 2}
    assert space(tied, LAVIT.edit({"stages.0.split": 1})).of_base() is None


@pytest.mark.parametrize(
    ("parameters", "path", "message"),
    [
        ({"stages.{0,1}.splt": {"int": [1, 3]}}, r"parameters.stages.0.splt", r"unknown key.*did you mean split"),
        ({"stages.2.split": {"int": [1, 3]}}, r"parameters.stages.2.split", "expected an index below 2"),
        ({"stages.0.split": {"int": [1, 9]}}, "parameters.stages.0.split", "value 4: split 4 is more than depth 3"),
        ({"stages.0.core": {"choice": ["sofmax"]}}, "parameters.stages.0.core", "did you mean softmax"),
        ({"stages.0.heads": {"choice": [2, 5]}}, "parameters.stages.0.heads", "heads 5 do not divide width 32"),
        ({"stages.0.split": {"int": [1, 3]}, "stages.{0,1}.split": {"int": [1, 2]}}, "stages.0.split", "given twice"),
        (
            SPLITS | {"classes": {"choice": [10], "when": {"stages.0.splt": 1}}},
            "classes.when",
            "did you mean stages.0.split",
        ),
        (SPLITS | {"classes": {"choice": [10], "when": {"stages.0.split": 7}}}, "classes.when", "is never 7"),
        ({"a": {"choice": [1], "when": {"b": 1}}, "b": {"choice": [1], "when": {"a": 1}}}, "when", "round in a circle"),
    ],
)
def test_what_fits_no_genome_is_refused_before_anything_runs(
    parameters: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        space(parameters)
    assert path in caught.value.path


def test_a_value_that_needs_others_is_accepted_where_they_can_be_drawn() -> None:
    """Five heads need another width; no value of the two is wrong by itself."""
    space({"stages.0.heads": {"choice": [2, 5]}, "stages.0.width": {"choice": [32, 40]}})


@pytest.mark.parametrize("name", list_spaces())
@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_shipped_spaces_make_valid_genomes(name: str, seed: int) -> None:
    shipped = _resolved(name)
    try:
        genome = shipped.genome(shipped.draw(Random(seed)))
    except GenomeError as error:
        pytest.fail(f"{name}: {error}")
    assert genome.classes == 10


def _resolved(name: str, made: dict[str, Any] = {}) -> Any:  # noqa: B006  (a cache)
    if name not in made:
        spec = load_space(name)
        made[name] = resolved(spec, spec.task.load())
    return made[name]


@pytest.mark.parametrize("name", list_spaces())
def test_the_base_of_a_shipped_space_is_one_of_its_points(name: str) -> None:
    shipped = _resolved(name)
    assert shipped.of_base() is not None
    assert shipped.base.name


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("stages.{0..99999999}.split", {"int": [0, 1]}, "braces"),
        ("stages.{0..99999}.split", {"int": [0, 1]}, "more than 1000 parameters"),
        ("stages.{0..99}.layers.{0..99}.core", {"choice": ["less"]}, "more than 1000 parameters"),
        ("stages.0.width", {"int": [1, 10**9]}, "at most 2000 values"),
        ("stages.0.width", {"int": [1, 10**400]}, "at most 2000 values"),
        ("stages.0.drop_path", {"float": [0, 1], "step": 1e-12}, "at most 2000 values"),
    ],
)
def test_counts_are_bounded_before_anything_is_expanded(path, values, message):
    with pytest.raises(SpaceError, match=message):
        SearchSpec.parse({"base": "lavit_digits", "parameters": {path: values}})
