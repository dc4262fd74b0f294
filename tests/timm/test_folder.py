"""A folder of nas/timm/folder.py: timm makes the same model of it, and so does everything here that takes a folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

import nas
from nas.errors import GenomeError, SpecError
from nas.genome import Genome
from nas.timm.donor import read_donor
from nas.timm.folder import write_folder
from nas.timm.outside import outside_model, preprocess_of

EDITS = {
    "image.channels": 3,
    "classes": 3,
    "drop_path": 0.1,
    "stages.0.depth": 2,
    "preprocess": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic", "crop": 0.9},
    "class_names": ["thé", "b", "c"],
}


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A winner's file: no preset, with weights beside it."""
    file = tmp_path_factory.mktemp("winner") / "w1-0007.yaml"
    torch.manual_seed(0)
    model = nas.build(nas.load_genome("castling_digits").edit(EDITS))
    file.write_text(model.genome.to_yaml())
    save_file(model.state_dict(), file.with_suffix(".safetensors"))
    return file


@pytest.fixture(scope="module")
def folder(genome: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "folder"
    write_folder(genome, folder, card=lambda written: f"the card of {written.name}\n")
    return folder


def test_timm_alone_makes_the_same_model_of_it(genome: Path, folder: Path, tmp_path: Path) -> None:
    images_BCHW = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    save_file({"images": images_BCHW}, tmp_path / "in.safetensors")
    code = (
        "import timm, nas.timm, torch\n"
        "from safetensors.torch import load_file, save_file\n"
        f"model = timm.create_model('local-dir:{folder}').eval()\n"
        "save_file({'logits': model(load_file('in.safetensors')['images']).detach()}, 'out.safetensors')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected_BK = nas.build(genome, weights=True).eval()(images_BCHW)
    assert torch.equal(load_file(tmp_path / "out.safetensors")["logits"], expected_BK)


def test_what_the_folder_says(genome: Path, folder: Path) -> None:
    assert sorted(file.name for file in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert (folder / "README.md").read_text() == "the card of castling_digits\n"
    config = json.loads((folder / "config.json").read_text())
    assert Genome.parse(config["model_args"]["genome"]) == Genome.from_file(genome)
    data = timm.data.resolve_model_data_config(timm.create_model(f"local-dir:{folder}"))
    expected = {"input_size": (3, 8, 8), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    expected |= {"interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center"}
    assert {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()} == expected
    assert timm.create_model(f"local-dir:{folder}").pretrained_cfg["label_names"] == EDITS["class_names"]


def test_timms_arguments_still_hold(folder: Path) -> None:
    name = f"local-dir:{folder}"
    assert timm.create_model(name, num_classes=7)(torch.zeros(2, 3, 8, 8)).shape == (2, 7)
    features = timm.create_model(name, features_only=True)
    assert [found.shape[1] for found in features(torch.zeros(2, 3, 8, 8))] == features.feature_info.channels()


def test_it_is_a_start_and_a_teacher(genome: Path, folder: Path) -> None:
    donor = read_donor(f"local-dir:{folder}")
    assert donor.genome == Genome.from_file(genome)
    weights = load_file(genome.with_suffix(".safetensors"))
    assert donor.state.keys() == weights.keys() and all(torch.equal(donor.state[k], weights[k]) for k in weights)
    teacher = outside_model(f"local-dir:{folder}")
    assert teacher.num_classes == 3 and preprocess_of(teacher)["crop"] == 0.9


def test_refusals(genome: Path, folder: Path, tmp_path: Path) -> None:
    before = {file: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(SpecError, match="expected a new folder, and this one has files"):
        write_folder(genome, folder, card=str)
    with pytest.raises(SpecError, match="expected a new folder"):
        write_folder(genome, genome, card=str)
    assert {file: file.read_bytes() for file in folder.iterdir()} == before
    plain = Genome.from_file(genome).edit({"preprocess": None})
    (tmp_path / "g.yaml").write_text(plain.to_yaml())
    with pytest.raises(GenomeError, match=r"g\.yaml: preprocess: neither the genome nor its weights"):
        write_folder(tmp_path / "g.yaml", tmp_path / "out", card=str, weights=genome.with_suffix(".safetensors"))
    assert [file.name for file in tmp_path.iterdir()] == ["g.yaml"]
    with pytest.raises(SpecError, match="nas_vit, the architecture of folders"):
        timm.create_model("nas_vit")
