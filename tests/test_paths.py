"""Paths: settings are told apart, what is set is found, nothing that was given is altered."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import QUOTED, SpecError, shown
from nas.paths import Difference, changed, difference, flat, found, parse_settings


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["a.b=1 c=x"], {"a.b": 1, "c": "x"}),
        (["a=[1, 2] b={c: d}", "e=f=g"], {"a": [1, 2], "b": {"c": "d"}, "e": "f=g"}),
        (["parameters.stages.{0,1}.split={int: [1, 2]}"], {"parameters.stages.{0,1}.split": {"int": [1, 2]}}),
        (["a=", " b=1 "], {"a": None, "b": 1}),
        (["a=1", "a=2"], {"a": 2}),
        (["macs=2e8 on=off list=[1, a]"], {"macs": 2e8, "on": "off", "list": [1, "a"]}),
        ([], {}),
    ],
)
def test_settings_are_told_apart(texts, values):
    assert parse_settings(texts) == values


@pytest.mark.parametrize("text", ["", "a", "a 1", "1=a", "x y=1", "x" * 5000])
def test_what_is_no_setting_is_refused(text):
    with pytest.raises(SpecError, match="--set: expected KEY=VALUE") as caught:
        parse_settings([text])
    assert len(str(caught.value)) < 300


def test_a_path_twice_in_one_text_is_refused():
    with pytest.raises(SpecError, match=r"^--set: a\.b: is set twice$"):
        parse_settings(["a.b=1 c=2 a.b=1"])


def test_values_are_yaml():
    with pytest.raises(SpecError, match=r"--set: a: line 1, column 1: .*tags are not read"):
        parse_settings(["a=!!python/name:os.system"])


DATA: dict[str, Any] = {"a": {"b": [1, {"c": 2}, {"c": 3}], "d": "word"}, "e": None, "f": {}}


@pytest.mark.parametrize(
    ("changes", "path", "values"),
    [
        ({"a.d": 5}, "a.d", [5]),
        ({"a.b.0": 5}, "a.b", [[5, {"c": 2}, {"c": 3}]]),
        ({"a.b.2.c": 5}, "a.b.*.c", [2, 5]),
        ({"a.b.1.c": 7, "a.b.*": {"c": 5}}, "a.b.*.c", [5, 7, 5]),
        ({"f.x.y": 5}, "f", [{"x": {"y": 5}}]),
        ({"e.x": 2, "e": {"x": 1, "y": 1}}, "e", [{"x": 2, "y": 1}]),
        ({"a.b": [{}, {}], "a.b.*.x": [0], "a.b.1.x.0": 1}, "a.b.*.x", [[0], [1]]),
    ],
)
def test_what_is_set_is_found(changes, path, values):
    before = copy.deepcopy((DATA, changes))
    assert found(changed(DATA, changes), path) == values
    assert (DATA, changes) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a.d.x": 1}, r"a.d.x: cannot be set: a.d is a string \('word'\)"),
        ({"e.x": 1}, "e.x: cannot be set: e is not set"),
        ({"a.b.0.x": 1}, r"a.b.0.x: cannot be set: a.b.0 is a number \(1\)"),
        ({"a": 3, "a.b": 2}, r"a.b: cannot be set: a is a number \(3\)"),
        ({"a.b.3": 1}, "a.b.3: expected an index below 3 or *, found '3'"),
        ({"a.b.-1": 1}, "found '-1'"),
        ({"a.b.²": 1}, "found '²'"),
        ({"a.b.first.c": 1}, "found 'first'"),
        ({"a.b." + "9" * 5000: 1}, "found '999"),
        ({"a.*.c": 1}, r"a.\*.c: \* stands for every element of a list, and a is a mapping"),
        ({"*": 1}, "stands for every element of a list"),
        ({"a..b": 1}, "a..b: a key between the dots is empty"),
        ({".a": 1}, "is empty"),
        ({"": 1}, "is empty"),
    ],
)
def test_what_cannot_be_set_is_refused(changes, message):
    with pytest.raises(SpecError, match=message.replace("or *", r"or \*")):
        changed(DATA, changes)


def test_the_rest_of_a_path_is_one_key_where_keys_are_paths():
    keyed = ("parameters", "arms.*")
    made = changed(
        {"parameters": {"x": 1}}, {"parameters.a.*.b": 2, "arms.one.c.d": 3, "arms.one": {"e": 4}}, keyed=keyed
    )
    assert made == {"parameters": {"x": 1, "a.*.b": 2}, "arms": {"one": {"e": 4, "c.d": 3}}}


def test_keys_of_one_mapping_stay_in_the_order_given():
    made = changed({}, {"parameters.z.z": 1, "parameters.a": 2, "parameters.m.m.m": 3}, keyed=["parameters"])
    assert list(made["parameters"]) == ["z.z", "a", "m.m.m"]


trees = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=2)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=8,
)
roots = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)
paths = st.lists(st.sampled_from(["a", "b", "c", "0", "1", "2", "*", "", "-1"]), min_size=1, max_size=4).map(".".join)


def apart(data, path):
    """The leaves that are neither at the path, nor above or below it."""
    leaves = flat(data).items()
    return {k: leaf for k, leaf in leaves if not f"{k}.".startswith(f"{path}.") and not f"{path}.".startswith(f"{k}.")}


@given(roots, paths, trees)
def test_a_change_is_found_at_its_path_and_nowhere_else(data, path, value):
    before = copy.deepcopy(data)
    try:
        made = changed(data, {path: value})
    except SpecError:
        made = data
    assert made is data or all(each == value for each in found(made, path))
    if made is not data and "*" not in path:
        assert found(made, path) == [value]
        assert apart(made, path) == apart(data, path)
    assert data == before


@given(roots, roots)
def test_there_is_a_difference_where_leaves_differ(old, new):
    change = difference(old, new)
    leaves = [{key: leaf for key, leaf in flat(side).items() if leaf is not None} for side in (old, new)]
    assert (change is None) == (leaves[0] == leaves[1])
    if change is not None:
        assert change == Difference(change.path, flat(old).get(change.path), flat(new).get(change.path))


def test_free_keys_may_differ():
    assert difference({"a": 1, "b": {"c": 2}}, {"a": 2, "b": {"c": 3}}, free={"a"}) == ("b.c", 2, 3)
    assert difference({"a": 1}, {"a": 2}, free={"a"}) is None


@given(st.one_of(trees, st.text(max_size=500)))
def test_a_message_quotes_at_most_200_characters(value):
    text = shown(value)
    assert len(text) <= QUOTED
    assert text == repr(value) or (text.endswith("…") and repr(value).startswith(text[:-1]))
