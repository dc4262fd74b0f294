from __future__ import annotations

import json
import re

import pandas as pd
import pytest

QUICK = "training.epochs=1 training.limit=300 training.batch_size=50"


def test_from_training_to_diagnosis(nas, tmp_path):
    trained = nas("train", "lavit_digits", "--out", "made", "--device", "cpu", "--set", QUICK)
    assert trained.code == 0, trained.err
    answer = nas("diagnose", "made/genome.yaml", "--images", "64", "--json", "d.json", "--csv", "out/d.csv")
    assert answer.code == 0, answer.err
    accuracy = re.match(r"made/genome.yaml: ([\d.]+) ± [\d.]+ % of 64 validation images right", answer.out)
    found = json.loads((tmp_path / "d.json").read_text())
    assert accuracy and float(accuracy[1]) == pytest.approx(100 * found["accuracy"], abs=0.01)
    assert "written      d.json\nwritten      out/d.csv\n" in answer.out
    table = pd.read_csv(tmp_path / "out" / "d.csv")
    assert len(table) == len(found["layers"]) == 7
    less = table[table["core"] == "less"]
    assert (less["psi"] > 0).all() and (less["similarity"] <= 1).all()

    piped = nas("diagnose", "made/genome.yaml", "--images", "64", "--json", "-")
    assert json.loads(piped.out) == found

    elsewhere = nas("diagnose", "lavit_digits", "--weights", "made/weights.safetensors", "--images", "64")
    assert elsewhere.out.splitlines()[3:] == answer.out.split("\nwritten")[0].splitlines()[3:]


def test_a_preset_without_weights_says_so(nas):
    assert nas("diagnose", "castling_digits", "--images", "8").out.startswith("castling_digits, untrained: ")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["lavit_digit"], ["did you mean lavit_digits?"]),
        (["none.yaml"], ["none.yaml", "no such file"]),
        (["lavit_digits", "--weights", "w.safetensors"], ["w.safetensors", "weights cannot be read"]),
        (["lavit_digits", "--data", "digit"], ["did you mean digits?"]),
        (["deit_tiny"], ["deit_tiny", "image.channels", "digits has 1 channel"]),
        (["lavit_digits", "--device", "cuda:99"], ["--device", "cannot use 'cuda:99'"]),
        (["lavit_digits", "--images", "0"], ["--images"]),
        (["lavit_digits", "--json", "."], [".: --json: a file cannot be written there: it is a folder"]),
        (["lavit_digits", "--csv", "/dev/null"], ["/dev/null: --csv: a file cannot be written there"]),
    ],
)
def test_mistakes(nas, tmp_path, arguments, parts):
    answer = nas("diagnose", *arguments)
    assert answer.code == 2
    assert "Traceback" not in answer.err
    for part in parts:
        assert part in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_genome_file_without_weights(nas, tmp_path):
    (tmp_path / "g.yaml").write_text(
        "image: {size: 8, channels: 1}\nclasses: 10\nstages: [{patch: 2, width: 8, heads: 2, depth: 1}]\n"
    )
    answer = nas("diagnose", "g.yaml")
    assert answer.code == 2
    assert "g.safetensors: weights cannot be read" in answer.err
