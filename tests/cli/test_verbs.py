from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

import nas as package
from nas.data import load
from nas.genome import Genome, list_presets
from nas.profiling import cost
from nas.train import evaluate
from tests.report.synthetic import write_run

QUICK = "training.epochs=1 training.limit=300 training.batch_size=50"
ALONE = "workers.count=1"


def test_help_needs_neither_torch_nor_ray():
    code = "import sys, nas.cli; sys.exit(any(name in sys.modules for name in ('torch', 'ray', 'optuna', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_cost_as_a_table_and_as_json(nas):
    table = nas("cost", "deit_tiny")
    assert table.code == 0
    total = cost("deit_tiny")
    assert table.out.splitlines()[-1].split() == ["total", f"{total.macs:,}", f"{total.params:,}"]
    assert 1.2e9 < total.macs < 1.3e9
    found = json.loads(nas("cost", "deit_tiny", "--json").out)
    assert found["macs"] == total.macs == sum(layer["macs"] for layer in found["layers"])


def test_cost_of_an_edited_genome(nas):
    edited = json.loads(nas("cost", "lavit_digits", "--json", "--set", "stages.0.split=1 stages.1.split=1").out)
    assert edited["macs"] < cost("lavit_digits").macs
    assert edited["hash"] != package.load_genome("lavit_digits").hash


def test_presets_and_schema(nas):
    out = nas("presets").out
    assert all(name in out for name in list_presets())
    schema = json.loads(nas("schema").out)
    assert set(Genome.model_fields) <= set(schema["properties"])


def test_train_resume_and_export(nas, tmp_path):
    arguments = ["train", "lavit_digits", "--out", "made", "--device", "cpu", "--set", QUICK]
    first = nas(*arguments)
    assert first.code == 0, first.err
    assert "epoch   1/1" in first.out
    assert "nas.build('made/genome.yaml', weights=True)" in first.out
    again = nas(*arguments)
    assert "epoch" not in again.out.partition("validation accuracy")[0]  # nothing was left to train
    assert again.out.splitlines()[-1] == first.out.splitlines()[-1]
    assert nas(*arguments, "--quiet").out.startswith("validation accuracy ")
    found = json.loads(nas(*arguments, "--json").out)
    assert (found["genome"], found["epochs"], len(found["metrics"])) == ("made/genome.yaml", 1, 1)

    before = {file: file.read_bytes() for file in (tmp_path / "made").iterdir()}
    for change, message in (
        ("training.limit=200", "belongs to another training"),
        ("stages.0.split=1", "another genome"),
    ):
        other = nas(*arguments, "--set", change)
        assert other.code == 2
        assert message in other.err
        assert {file: file.read_bytes() for file in (tmp_path / "made").iterdir()} == before

    answer = nas("export", "made/genome.yaml", "--to", "out/model.pt2")
    assert answer.code == 0, answer.err
    served = torch.export.load(tmp_path / "out" / "model.pt2").module()
    model = package.build("made/genome.yaml", weights=True).eval()
    images_BCHW = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(served(images_BCHW), model(images_BCHW), atol=1e-5, rtol=1e-5)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["model.pt2"]
    found = json.loads(nas("export", "made/genome.yaml", "--to", "model.pt2", "--json").out)
    assert found["file"] == "model.pt2" and found["difference"] < 1e-4
    said, checked = answer.out.splitlines()
    assert said == "out/model.pt2: images (batch, 1, 8, 8), float32, normalised, in; logits out"
    assert float(checked.rpartition(" of the largest")[0].rpartition(" ")[2]) < 1e-4

    answer = nas("export", "made/genome.yaml", "--to", "folder/")
    assert answer.code == 0, answer.err
    assert sorted(file.name for file in (tmp_path / "folder").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert nas("export", "made/genome.yaml", "--to", "folder").code == 2  # nothing is overwritten


def test_report_takes_a_name_or_a_path(nas, tmp_path):
    write_run(tmp_path / "results" / "mine")
    assert nas("report", "mine").out == "results/mine/report.html\n"
    assert json.loads(nas("report", "results/mine", "--json").out) == {"files": ["results/mine/report.html"]}


def test_dry_run_writes_nothing(nas, tmp_path):
    answer = nas("search", "mixed", "--dry-run", "--set", "budget.macs=9.5e5")
    assert answer.code == 0, answer.err
    assert "combinations, " in answer.out
    assert "macs at most 950 k" in answer.out
    assert answer.out.count("random  ") == 10
    found = json.loads(nas("search", "mixed", "--dry-run", "--json", "--set", "budget.macs=9.5e5").out)
    assert max(genome["macs"] for genome in found["genomes"][1:]) <= 950_000 and found["seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_where_every_trial_fails_the_command_fails(nas, pool):
    diverging = "training.epochs=3 training.limit=300 training.lr=1e30 training.min_lr=1e30"
    answer = nas("search", "lavit_split", "--trials", "1", "--run", "lost", "--set", f"{diverging} {ALONE}")
    assert answer.code == 1
    assert "no trial completed; the first failure was: " in answer.out and "front in" not in answer.out


def test_search_from_the_command_to_the_loaded_winner(nas, tmp_path, pool):
    arguments = ["search", "lavit_split", "--trials", "2", "--run", "tiny", "--set", f"{QUICK} {ALONE}"]
    answer = nas(*arguments)
    assert answer.code == 0, answer.err
    run = tmp_path / "results" / "tiny"
    for name in ("run.yaml", "trials.csv", "front.csv", "report.html", "figures/accuracy_macs.png"):
        assert (run / name).stat().st_size > 0
    assert answer.out.count(" complete: ") == 2
    front = pd.read_csv(run / "front.csv")
    best = front.sort_values("accuracy").iloc[-1]
    assert f"nas.build('results/tiny/winners/{best['winner']}.yaml', weights=True)" in answer.out
    assert str(best["winner"]) in answer.out.partition("Pareto front")[2]
    model = package.build(f"results/tiny/winners/{best['winner']}.yaml", weights=True)
    images = load("digits", limit=300, seed=0)
    assert evaluate(model, images.validation) == best["accuracy"]
    loaded = package.load(f"results/tiny/winners/{best['winner']}.yaml")
    assert (loaded.transform.preprocess, loaded.class_names) == (images.preprocess, images.classes)
    trial = package.load(f"results/tiny/trials/{best['trial']:04d}/genome.yaml")
    assert trial.transform == loaded.transform

    resumed = nas(*arguments)
    assert "resuming: 2 trials have ended before" in resumed.out
    assert " complete: " not in resumed.out
    assert front["hash"].equals(pd.read_csv(run / "front.csv")["hash"])

    quiet = nas(*arguments, "--quiet")
    assert quiet.out.lstrip().startswith("Pareto front")
    found = json.loads(nas(*arguments, "--json").out)
    assert found["best"] == f"results/tiny/winners/{best['winner']}.yaml"
    assert [row["winner"] for row in found["front"]] == list(front["winner"])
    picked = json.loads(nas("pick", "tiny", f"macs={front['macs'].min()}", "--json").out)
    assert picked["genome"] == f"results/tiny/winners/{front.loc[front['macs'].idxmin(), 'winner']}.yaml"

    again = nas("retrain", "tiny", "--set", f"seeds=1 {ALONE}")
    assert again.code == 0, again.err
    assert "300 training images." in again.out and "Trained on validation images as well." in again.out
    table = pd.read_csv(tmp_path / "results" / "tiny-retrained" / "table.csv")
    others = front.loc[front["trial"] != 0, "winner"]  # trial 0 is the base genome
    assert list(table["arm"]) == ["base", *sorted(others)]
    assert table["accuracy"].notna().all() and table["accuracy_validation"].isna().all()
    assert set(table["test_images"]) == {len(load("digits").test)}
    cells = json.loads(nas("retrain", "tiny", "--set", f"seeds=1 {ALONE}", "--json").out)["cells"]
    assert [cell["accuracy"] for cell in cells] == list(table["accuracy"])
    assert all(cell["accuracy_validation"] is None for cell in cells)


def test_ctrl_c_shows_the_front_so_far_and_how_to_resume(nas, tmp_path, monkeypatch):
    def interrupted(space: object, directory: Path, **others: object) -> None:
        write_run(directory, trials=5)
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.api.search", interrupted)
    answer = nas("search", "lavit_split", "--set", QUICK)
    assert answer.code == 130
    assert "Pareto front" in answer.out
    assert answer.out.splitlines()[-1] == f"resume with: nas search lavit_split --set '{QUICK}'"
    as_json = nas("search", "lavit_split", "--set", QUICK, "--json")
    assert (as_json.code, as_json.out) == (130, "")
    assert as_json.err.endswith(f"resume with: nas search lavit_split --set '{QUICK}' --json\n")
    assert (tmp_path / "results" / "lavit_split-digits").is_dir()


def test_ctrl_c_in_a_training_says_how_to_resume(nas, monkeypatch):
    def interrupted(*arguments: object, **others: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nas.train.loop.train", interrupted)
    answer = nas("train", "lavit_digits", "--out", "made")
    assert answer.code == 130
    assert answer.out.endswith("resume with: nas train lavit_digits --out made\n")


def test_a_bug_keeps_its_traceback(nas, monkeypatch):
    monkeypatch.setattr("nas.profiling.cost", lambda genome: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nas("cost", "lavit_digits")


def test_data_is_said_drawn_and_written_as_json(nas, tmp_path):
    answer = nas("data", "digits", "--sheet", "sheet.png", "--set", "training.limit=100 training.augment.erase=1")
    assert answer.code == 0, answer.err
    lines = {line[:13].strip(): line[13:] for line in answer.out.splitlines()}
    assert lines["data"] == "digits: 459 images, 10 classes, 8×8 pixels, 1 channel (grey)"
    assert lines["train"] == "80 images: what is left, 100 images drawn with seed 0, less validation"
    assert lines["written"] == "sheet.png"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 8 * 64 and len(sheet.getcolors(10**6)) > 10
    found = json.loads(nas("data", "digits", "--json").out)
    assert found["images"] == {"train": 1150, "validation": 288, "test": 359}
    assert nas("data", "digits", "--sheet", "sheet.jpg").code == 2


def test_a_training_says_what_was_loaded(nas):
    out = nas("train", "lavit_digits", "--device", "cpu", "--set", QUICK).out
    assert out.startswith("data         digits: 659 images") and out.index("validation   60 images") < out.index(
        "epoch"
    )
