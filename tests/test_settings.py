from __future__ import annotations

import pytest

from nas.errors import SpecError
from nas.settings import parsed, section, settings


@pytest.mark.parametrize(
    ("texts", "values"),
    [
        (["a.b=1 c=x"], {"a.b": "1", "c": "x"}),
        (["a=[1, 2] b={c: d}", "e=f=g"], {"a": "[1, 2]", "b": "{c: d}", "e": "f=g"}),
        (["parameters.stages.{0,1}.split={int: [1, 2]}"], {"parameters.stages.{0,1}.split": "{int: [1, 2]}"}),
        (["a=", " b=1 "], {"a": "", "b": "1"}),
        (["a=1", "a=2"], {"a": "2"}),
        ([], {}),
    ],
)
def test_settings_are_told_apart(texts, values):
    assert settings(texts) == values


@pytest.mark.parametrize("text", ["", "a", "a 1", "1=a", "x y=1"])
def test_what_is_no_setting_is_refused(text):
    with pytest.raises(SpecError, match="--set: expected KEY=VALUE"):
        settings([text])


def test_values_are_yaml():
    assert parsed(["macs=2e8 on=off list=[1, a]"]) == {"macs": 2e8, "on": "off", "list": [1, "a"]}
    with pytest.raises(SpecError, match=r"--set a: line 1, column 1: .*tags are not read"):
        parsed(["a=!!python/name:os.system"])


def test_sections_nest():
    flat = {"training.augment.flip": False, "training.epochs": 3, "training": 1, "stages.0.width": 32}
    assert section("training", flat) == {"augment": {"flip": False}, "epochs": 3}
    with pytest.raises(SpecError, match=r"--set: training.a.b: nothing below 'a' to set: it was set to 3"):
        section("training", {"training.a": 3, "training.a.b": 4})
