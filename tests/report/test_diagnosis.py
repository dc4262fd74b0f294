from __future__ import annotations

import json

import pandas as pd
from rich.console import Console

from nas.report.diagnosis import diagnosis_table, write_csv, write_diagnosis
from nas.train.diagnosis import Diagnosis, LayerDiagnosis

FOUND = Diagnosis(
    images=40,
    accuracy=0.925,
    layers=[
        LayerDiagnosis("stages.0.layers.0", "softmax", 16, 2, exact=True, diagonal=1.5, near=1.25, entropy=0.5),
        LayerDiagnosis("stages.0.layers.1", "less", 16, 2, exact=True, similarity=0.987654, psi=0.25, theta=0.0),
        LayerDiagnosis("stages.0.layers.2", "linear_angular", 16, 2, exact=False, mask_start=0.5, mask_end=0.0),
        LayerDiagnosis("stages.0.layers.3", "pooling", 16, 2),
    ],
)


def shown(found: Diagnosis) -> list[str]:
    console = Console(width=160, highlight=False)
    with console.capture() as captured:
        console.print(diagnosis_table(found, "w1"))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_what_a_layer_does_not_have_is_a_dash():
    lines = shown(FOUND)
    assert lines[0] == "w1: 92.50 ± 4.16 % of 40 validation images right"
    rows = {line.split()[0]: line.split()[1:] for line in lines[3:7]}
    assert rows["stages.0.layers.0"] == ["softmax", "16", "2", "–", "1.500", "1.250", "0.500", "–", "–", "–"]
    assert rows["stages.0.layers.1"] == ["less", "16", "2", "0.988", "–", "–", "–", "0.250", "0.000", "–"]
    assert rows["stages.0.layers.2"][:2] == ["linear_angular", "*"]
    assert rows["stages.0.layers.2"][-3:] == ["0.500", "→", "0.000"]
    assert rows["stages.0.layers.3"] == ["pooling", "16", "2", *["–"] * 7]
    assert lines[-1].startswith("*") and "softmax of the q·k" in lines[-1]


def test_columns_that_nobody_has_are_left_out():
    lines = shown(Diagnosis(1, 1.0, FOUND.layers[:1]))
    assert lines[2].split() == ["layer", "core", "tokens", "heads", "diagonal", "near", "entropy"]
    assert not any(line.startswith("*") for line in lines)


def test_files_have_all_digits_and_all_layers(tmp_path):
    write_csv(FOUND, tmp_path / "d.csv")
    table = pd.read_csv(tmp_path / "d.csv")
    assert table["similarity"].dropna().tolist() == [0.987654]
    assert table["layer"].tolist() == [layer.layer for layer in FOUND.layers]
    write_diagnosis(FOUND, tmp_path / "d.json")
    content = json.loads((tmp_path / "d.json").read_text())
    assert (content["images"], content["accuracy"]) == (40, 0.925)
    assert content["layers"][3]["entropy"] is None
