from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from rich.console import Console

from nas.data import load
from nas.engine.record import write_record
from nas.errors import DataError
from nas.files import write_text
from nas.genome import load_genome
from nas.report.diagnosis import diagnosis_table, images_for, write_csv, write_diagnosis
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
    assert lines[0] == "w1: 92.50 % of 40 validation images right"
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


def test_a_winner_is_shown_the_validation_images_of_its_run(tmp_path):
    run = tmp_path / "run"
    for name in ("winners/w1-0000.yaml", "trials/0000/genome.yaml"):
        write_text(run / name, load_genome("lavit_digits").to_yaml())
    spec = {"data": "digits", "training": {"validation": 0.25, "limit": 400}}
    write_record(run, kind="search", seed=5, spec=spec)
    expected = load("digits", validation=0.25, limit=400, seed=5).validation
    for name in ("winners/w1-0000.yaml", "trials/0000/genome.yaml"):
        split = images_for(str(run / name), None, 10**6)
        assert split.view.indices.tolist() == expected.view.indices.tolist()
    images_BCHW, _ = next(split.batches(100, seed=None))
    torch.testing.assert_close(images_BCHW, next(expected.batches(100, seed=None))[0])

    few = images_for(str(run / "winners/w1-0000.yaml"), None, 10)
    assert len(few) == 10
    assert few.view.indices[[0, -1]].tolist() == expected.view.indices[[0, -1]].tolist()


def test_a_preset_is_shown_what_training_would_hold_out():
    assert (
        images_for("lavit_digits", None, 10**6).view.indices.tolist() == load("digits").validation.view.indices.tolist()
    )
    with pytest.raises(DataError, match=r"deit_tiny: image.channels: the model takes 3 channels"):
        images_for("deit_tiny", "digits", 10)
