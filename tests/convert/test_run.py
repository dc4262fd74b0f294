"""Whole conversions: real Ray, real training. test_kill.py has those that are killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.convert.run import ConversionResult, convert
from nas.convert.spec import ConversionSpec, conversion_of
from nas.errors import BudgetError, RunError, SpaceError, SpecError
from nas.model import build
from nas.report import write_report
from nas.report.conversion import verdict
from nas.report.run import read_run
from nas.train import evaluate
from tests.convert.small import spec
from tests.report.described import undescribed, unsealed


def test_a_conversion_leaves_a_run_with_winners_and_prices(whole: ConversionResult, parent: Path) -> None:
    table = whole.sensitivity
    assert len(table) == 12  # two candidates in seven layers, but no reuse in the first of a stage
    assert {"layer", "candidate", "local_error", "kl", "delta_accuracy", "delta_accuracy_se", "delta_macs",
            "delta_params", "delta_ms"} <= set(table)  # fmt: skip
    assert (table["kl"] >= 0).all() and (table.loc[table["candidate"] == "reuse", "delta_macs"] < 0).all()
    assert whole.trials["state"].tolist() == ["complete"] * len(whole.trials)
    assert len(whole.trials) >= 2 and (whole.trials.iloc[0][table["layer"].unique()] == "keep").all()
    assert whole.trials["accuracy"].min() > 0.75
    winner = whole.directory / "winners" / f"{whole.front['winner'].iloc[0]}.yaml"
    model = build(winner, weights=True)
    images = spec(whole.directory / "start.yaml").task.load()
    assert evaluate(model, images.validation) == whole.front["accuracy"].iloc[0]
    assert write_report(whole.directory).exists()
    assert undescribed(whole.directory) == unsealed(whole.directory) == []
    assert read_run(whole.directory).current
    said = verdict(table)
    arms = whole.assemblies["arm"].value_counts()
    assert arms["chosen"] == 2 and arms["all"] == 1 and arms["random"] >= 1  # few random ones are as cheap as can be
    assert set(whole.assemblies["trial"]) == set(whole.trials["trial"][1:])
    assert verdict(table, "latency")[0].count("KL") == sum(
        (rows["delta_accuracy"] + 1.96 * rows["delta_accuracy_se"] >= 0).any()
        for _, rows in table[table["delta_ms"] < 0].groupby("layer")
    )
    dear = table.groupby("layer")["delta_macs"].min() >= 0
    assert len(said) == 2 + dear.any() and all(layer in " ".join(said) for layer in table["layer"].unique())
    with pytest.raises(RunError, match=r"spec\.points"):
        convert(spec(parent, points=3), whole.directory)


@pytest.mark.parametrize(
    ("keys", "kind", "message"),
    [
        ({"budget": {"macs": "0.1x"}}, BudgetError, "cheapest assembly"),
        ({"budget": {"throughput": 10**9}}, BudgetError, "throughput of at least 1,000,000,000: the cheapest"),
        ({"budget": {"macs": "half"}}, SpaceError, "budget.macs"),
        ({"budget": {"accuracy": 0.9}}, SpaceError, "accuracy"),
        ({"training": {"validation": 0.02}}, SpecError, "validation images"),
        ({"objectives": {"macs": "min", "params": "min"}}, SpaceError, "accuracy"),
        (
            {"training": {"teacher": {"model": "lavit_digits", "weights": "w.safetensors"}}},
            SpecError,
            "training.teacher",
        ),
        ({"start": None}, SpecError, "start"),
        ({"start": "nowhere.yaml"}, SpecError, "no such file"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(
    keys: dict[str, Any], kind: type[Exception], message: str, parent: Path, tmp_path: Path
) -> None:
    with pytest.raises(kind) as caught:
        convert(spec(parent, **keys), tmp_path / "run")
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_model_without_an_alternative_is_refused(parent: Path, tmp_path: Path) -> None:
    same = ConversionSpec.parse({"start": str(parent), "candidates": {"same": {"core": "softmax"}}})
    with pytest.raises(SpecError, match="no candidate fits"):
        convert(same, tmp_path / "run")


def test_a_model_or_a_yaml_file_is_a_conversion(parent: Path, tmp_path: Path) -> None:
    assert conversion_of(str(parent)).start == str(parent)
    file = tmp_path / "mine.yaml"
    file.write_text(f"start: {parent}\nbudget: {{macs: 0.9x}}\ntraining: {{epochs: 5}}\n")
    found = conversion_of(str(file))
    assert (found.name, found.budget, found.training.epochs) == ("mine", {"macs": "0.9x"}, 5)
    assert found.training.label_smoothing == 0.0  # the repair's own default stays
    with pytest.raises(SpaceError, match=r"no candidate 'lineer'.*did you mean linear"):
        found.only(["lineer"])
