"""What pydantic would take for a number without a word."""

from __future__ import annotations

from typing import Any

import pytest

from nas.convert.spec import ConversionSpec
from nas.errors import SpecError
from nas.genome import load_genome
from nas.search import SearchSpec

SPACE = {"base": "lavit_digits", "parameters": {"stages.0.split": {"int": [1, 2]}}}


@pytest.mark.parametrize(
    ("key", "value", "path"),
    [
        ("trials", True, "trials"),
        ("seed", False, "seed"),
        ("budget", {"macs": True}, "budget.macs"),
        ("training", {"mixup": True}, "training.mixup"),
        ("training", {"warmup_epochs": True}, "training.warmup_epochs"),
        ("training", {"betas": [True, 0.9]}, "training.betas"),
        ("training", {"augment": {"repeats": True}}, "training.augment.repeats"),
        ("workers", {"gpu": True}, "workers.gpu"),
        ("limits", {"memory": True}, "limits.memory"),
        ("parameters", {"stages.0.split": {"int": [1, True]}}, "parameters.stages.0.split.int"),
        ("sampler", {"name": "tpe", "startup": True}, "sampler.startup"),
        ("scheduler", {"name": "halving", "first": True}, "scheduler.first"),
    ],
)
def test_a_truth_value_is_no_number(key: str, value: Any, path: str) -> None:
    with pytest.raises(SpecError, match=rf"^{path}: expected a (whole )?number, found (True|False|\[|{{)"):
        SearchSpec.parse(SPACE | {key: value})


@pytest.mark.parametrize(
    ("edit", "path"),
    [
        ({"drop_path": True}, "drop_path"),
        ({"stages.0.split": True}, r"stages\.0\.split"),
        ({"image.channels": True}, r"image\.channels"),
        ({"stages.0.local": {"block": "depthwise", "kernel": True}}, r"stages\.0\.local\.kernel"),
    ],
)
def test_a_truth_value_is_no_number_of_a_genome(edit: dict[str, Any], path: str) -> None:
    with pytest.raises(SpecError, match=rf"^{path}: expected a (whole )?number, found True"):
        load_genome("lavit_digits").edit(edit)


def test_what_may_be_true_or_false_may_be() -> None:
    spec = SearchSpec.parse(SPACE | {"training": {"augment": {"flip": False}, "bce": True}})
    assert spec.training.augment.flip is False and spec.training.bce is True
    choice = {"embed_norm": {"choice": [True, False]}}
    assert SearchSpec.parse(SPACE | {"parameters": choice}).parameters["embed_norm"].choice == (True, False)


def test_the_keys_of_a_conversion_too() -> None:
    with pytest.raises(SpecError, match=r"^points: expected a whole number, found True"):
        ConversionSpec.parse({"start": "a.yaml", "points": True})


def test_other_forms_of_a_number_stay() -> None:
    spec = SearchSpec.parse(SPACE | {"trials": 3.0, "training": {"epochs": "4"}})
    assert (spec.trials, spec.training.epochs) == (3, 4)
