"""Ablation files: designs, arms, errors; every shipped one lists arms that build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import nas
from nas.ablation import load_ablation, parse_ablation
from nas.ablation.run import cells_of
from nas.engine import Ledger
from nas.errors import SpecError
from nas.shipped import ABLATIONS

FACTORS: dict[str, Any] = {
    "local": {"none": {}, "1-D": {"stages.*.local": "depthwise"}, "2-D": {"stages.0.local": "depthwise"}},
    "split": {"no": {}, "yes": {"stages.0.split": 1}},
}


def names(**spec: Any) -> list[str]:
    ablation = parse_ablation({"base": "lavit_digits", "factors": FACTORS, **spec})
    return [arm.name for arm in ablation.arms_of(ablation.genome())]


def test_designs() -> None:
    assert names() == ["none", "split", "local 1-D", "local 1-D, split", "local 2-D", "local 2-D, split"]
    assert names(design="one_at_a_time") == ["none", "local 1-D", "local 2-D", "split"]
    assert names(design="leave_one_out") == ["local 2-D, split", "split", "local 2-D"]
    assert names(design="one_at_a_time", arms={"control": {}})[-1] == "control"


def test_seeds_are_shared_and_extend_without_moving() -> None:
    few, more = (parse_ablation({"base": "lavit_digits", "factors": FACTORS, "seeds": n}).seed_list for n in (2, 4))
    assert more[:2] == few and len(set(more)) == 4


@pytest.mark.parametrize("file", sorted(ABLATIONS.own.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_ablations_build(file: Path) -> None:
    ablation = load_ablation(str(file))
    arms = ablation.arms_of(ablation.genome())
    assert ablation.claim and ablation.baseline_name in {arm.name for arm in arms}
    assert len({arm.genome.hash for arm in arms}) == len(arms), "two arms are the same genome"
    for arm in arms:
        assert nas.cost(arm.genome).macs > 0


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ({"factors": {}}, "there is nothing to compare"),
        ({"factors": {"one": {"only": {}}}}, "two levels"),
        ({"baseline": "splt"}, "did you mean split"),
        ({"seedz": 3}, "did you mean seeds"),
        ({"arms": {"bad": {"stages.0.split": 9}}}, "arm bad.stages.0.split"),
        ({"training": {"epochs": 0}}, "training.epochs"),
        ({"seeds": [1, 1, 2]}, "seeds: a seed is listed twice"),
        (
            {"arms": {"=1+1": {}}},
            "arms: a spreadsheet would take the name '=1+1' for a formula; let it not begin with =",
        ),
        ({"arms": {"\t=1": {}}}, r"arms: a spreadsheet would take the name '\t=1' for a formula"),
        ({"factors": {"@SUM": {"no": {}, "yes": {}}}}, "factors: a spreadsheet would take the name '@SUM'"),
        ({"factors": {"f": {"no": {}, "=f": {}}}}, "factors: a spreadsheet would take the name '=f'"),
    ],
)
def test_mistakes_name_where(spec: dict[str, Any], hint: str) -> None:
    with pytest.raises(SpecError) as caught:
        names(**spec)
    assert hint in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"base": 5}, "base: expected text, found 5"),
        ({"seeds": 1.5}, "seeds: expected a whole number, found 1.5"),
        ({"seeds": [1, "a"]}, "seeds.1: expected a whole number, found 'a'"),
        ({"workers": {"gpu": "a"}}, "workers.gpu: expected a number, found 'a'"),
        ({"design": "full"}, "design: expected 'factorial', 'one_at_a_time' or 'leave_one_out', found 'full'"),
    ],
)
def test_a_wrong_value_is_explained_in_words_of_the_file(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as error:
        parse_ablation({"base": "lavit_digits", "arms": {"one": {}, "two": {"stages.0.split": 1}}} | keys)
    assert str(error.value) == message


def test_a_factor_is_never_a_column_of_the_tables() -> None:
    run = Path("tests/fixtures/v0_1/parts").resolve()
    factors = {"loss", "split"}
    columns = (set(cells_of(run)) | set(Ledger(run).table())) - factors
    assert {"arm", "seed", "accuracy", "params", "throughput", "dtype", "test_images"} <= columns
    for name in columns | {"mask_mass", "accuracy_before_switch", "accuracy_after_switch", "latency", "peak_memory"}:
        with pytest.raises(SpecError, match=rf"factors\.{name}: the table has a column '{name}'"):
            parse_ablation({"base": "lavit_digits", "factors": {name: {"no": {}, "yes": {"qkv_bias": False}}}})
