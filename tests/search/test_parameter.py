from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.errors import SpaceError
from nas.search.parameter import Parameter, ParameterSpec, expand

units = st.floats(0, 1, exclude_max=True)


def one(**spec: Any) -> Parameter:
    return expand("a", ParameterSpec(**spec))[0]


@given(low=st.integers(-50, 50), width=st.integers(1, 60), step=st.integers(1, 7), u=units)
def test_whole_numbers_stay_in_range_and_on_their_steps(low: int, width: int, step: int, u: float) -> None:
    parameter = one(int=(low, low + width), step=step)
    value = parameter.at(u)
    assert type(value) is int
    assert low <= value <= low + width
    assert (value - low) % step == 0
    assert parameter.holds(value)
    assert parameter.values == tuple(range(low, low + width + 1, step))


@given(low=st.floats(1e-6, 1e3), ratio=st.floats(1.001, 1e6), u=units, log=st.booleans())
def test_real_numbers_stay_in_range(low: float, ratio: float, u: float, log: bool) -> None:
    parameter = one(float=(low, low * ratio), log=log)
    assert low <= parameter.at(u) <= low * ratio
    assert parameter.holds(parameter.at(u))


def test_a_logarithmic_range_spends_equal_shares_on_each_decade() -> None:
    parameter = one(float=(1e-4, 1.0), log=True)
    assert [parameter.at(u) for u in (0.0, 0.25, 0.5, 0.75)] == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert {one(int=(1, 64), log=True).at(u / 100) for u in range(100)} >= {1, 2, 4, 8, 16, 32}


def test_a_stepped_range_lists_its_values() -> None:
    assert one(float=(0.0, 0.3), step=0.1).values == (0.0, 0.1, 0.2, 0.3)


@given(u=units, count=st.integers(1, 9))
def test_every_choice_has_its_share(u: float, count: int) -> None:
    assert one(choice=list(range(count))).at(u) == int(u * count)


def test_braces_make_independent_parameters_and_conditions_follow() -> None:
    spec = ParameterSpec(float=(0.0, 1.0), when={"stages.{0..2}.core": "less", "on": [1, 2]})
    made = expand("stages.{0..2}.{x,y}", spec)
    assert [p.path for p in made] == [f"stages.{i}.{k}" for i in range(3) for k in "xy"]
    assert made[2].conditions == (("stages.1.core", ("less",)), ("on", (1, 2)))
    assert made[2].active({"stages.1.core": "less", "on": 2})
    assert not made[2].active({"stages.1.core": "softmax", "on": 2})
    assert not made[2].active({"on": 2})


def test_equal_groups_are_filled_from_left_to_right() -> None:
    paths = [p.path for p in expand("stages.{0,1}.layers.{0,1}.core", ParameterSpec(choice=["less", "softmax"]))]
    assert paths == [f"stages.{s}.layers.{layer}.core" for s in (0, 1) for layer in (0, 1)]


@pytest.mark.parametrize(
    ("path", "spec", "message"),
    [
        ("a.{0,}", {"choice": [1]}, r"expected braces like"),
        ("a", {"choice": [1], "when": {"stages.{0,1}.core": 1}}, r"do not appear in the parameter's own path"),
        ("a", {}, "give one of .*found none"),
        ("a", {"choice": [1], "int": [1, 2]}, "found choice and int"),
        ("a", {"choice": [1, 2, 1]}, "the choice 1 is given twice"),
        ("a", {"choice": [1, 2], "log": True}, "belong to `int` and `float`"),
        ("a", {"int": [4, 4]}, "low < high"),
        ("a", {"float": [0, 1], "log": True}, "starts above 0"),
        ("a", {"float": [1, 2], "log": True, "step": 0.5}, "exclude each other"),
        ("a", {"int": [1, 4], "step": 0.5}, "whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(path: str, spec: dict[str, Any], message: str) -> None:
    with pytest.raises((SpaceError, ValidationError), match=message):
        expand(path, ParameterSpec(**spec))
