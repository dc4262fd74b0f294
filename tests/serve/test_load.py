"""`nas.load`: what a winner's files say of pixels and classes is enough to use it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import nas
from nas.data import load
from nas.errors import GenomeError
from nas.files import write_text
from nas.genome import Genome, load_genome
from nas.model.pixels import served
from nas.plain_yaml import read_yaml
from nas.train import evaluate


def test_both_files_say_how_pixels_reach_the_model(trained: Path, photographs: Path) -> None:
    images = load(f"imagefolder:{photographs}", size=8)
    written = read_yaml(trained)
    assert set(written["preprocess"]) == {"mean", "std", "interpolation", "crop"}
    assert written["class_names"] == ["left", "top"]
    with safe_open(trained.with_name("weights.safetensors"), "pt") as file:
        metadata = {key: json.loads(file.metadata()[key]) for key in ("preprocess", "class_names")}
    assert metadata == {key: written[key] for key in metadata}
    assert load_genome(trained).preprocess == images.preprocess


def test_a_loaded_model_is_right_as_often_as_evaluation_says(trained: Path, photographs: Path) -> None:
    images = load(f"imagefolder:{photographs}", size=8)
    model, transform, class_names = nas.load(trained)
    assert not model.training and class_names == images.classes
    subset = images.test.subset
    files = [subset.pictures.paths[index] for index in subset.indices]
    with torch.no_grad():
        found = [class_names[int(model(transform(file)[None]).argmax())] for file in files]
    right = sum(name == file.parent.name for name, file in zip(found, files, strict=True))
    assert right == round(evaluate(model, images.test) * len(files)) > 0.8 * len(files)


def test_a_class_folder_without_a_unicode_name_can_be_written(photographs: Path) -> None:
    images = replace(load(f"imagefolder:{photographs}", size=8), classes=("caf\udce9", "thé"))
    genome = load_genome("lavit_digits").edit({"image.channels": 3, "classes": 2, **served(images)})
    assert Genome.from_yaml(genome.to_yaml()).class_names == ("caf?", "thé")


def test_weights_speak_where_the_genome_does_not(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a trial directory, whose genome has only what is searched."""
    genome = load_genome(trained).edit({"preprocess": None, "class_names": None})
    write_text(tmp_path / "genome.yaml", genome.to_yaml())
    weights = tmp_path / "weights.safetensors"
    shutil.copy(trained.with_name("weights.safetensors"), weights)
    assert nas.load(tmp_path / "genome.yaml")[1:] == nas.load(trained)[1:]
    assert nas.load(trained, weights)[1:] == nas.load(trained)[1:]

    assert not caplog.records
    edited = load_genome(trained).edit({"preprocess.crop": 0.5, "class_names": ["l", "t"]})
    write_text(tmp_path / "genome.yaml", edited.to_yaml())
    loaded = nas.load(tmp_path / "genome.yaml")
    assert loaded.transform.form.crop == 0.5 and loaded.class_names == ("l", "t")
    pixels, names = (record.getMessage() for record in caplog.records)
    assert pixels.startswith(f"{weights}: preprocess: {{'mean': [") and pixels.count("'crop': ") == 2
    assert names.endswith("of the genome is used, and the weights were trained with ['left', 'top']")

    save_file(load_file(weights), weights)  # without metadata
    write_text(tmp_path / "genome.yaml", genome.to_yaml())
    with pytest.raises(GenomeError, match=rf"^{tmp_path}/genome.yaml: preprocess: neither the genome nor its weights"):
        nas.load(tmp_path / "genome.yaml")
    nameless = edited.edit({"class_names": None})
    write_text(tmp_path / "genome.yaml", nameless.to_yaml())
    assert nas.load(tmp_path / "genome.yaml").class_names == ("0", "1")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"preprocess": '{"mean": [0.5], "std": [0.5]}'}, "preprocess: expected values for image.channels 3"),
        ({"preprocess": "{"}, "Expecting property name"),
        ({"class_names": '["a"]'}, "class_names: expected 2 names, found 1"),
    ],
)
def test_metadata_that_does_not_fit_is_named(
    trained: Path, tmp_path: Path, metadata: dict[str, str], message: str
) -> None:
    genome = load_genome(trained).edit({"preprocess": None, "class_names": None})
    write_text(tmp_path / "genome.yaml", genome.to_yaml())
    weights = tmp_path / "weights.safetensors"
    save_file(load_file(trained.with_name("weights.safetensors")), weights, metadata)
    with pytest.raises(GenomeError, match=rf"^{weights}: its metadata cannot be used: .*{message}"):
        nas.load(tmp_path / "genome.yaml")


def test_a_model_without_pictures_is_left_to_build(trained: Path, tmp_path: Path) -> None:
    genome = load_genome(trained).edit({"image.channels": 2, "preprocess": {"mean": [0.5] * 2, "std": [0.5] * 2}})
    save_file(nas.build(genome).state_dict(), tmp_path / "w.safetensors")
    write_text(tmp_path / "w.yaml", genome.to_yaml())
    with pytest.raises(GenomeError, match="the model takes 2: prepare its input yourself"):
        nas.load(tmp_path / "w.yaml")


def test_training_uses_the_genomes_own_preprocess(trained: Path, photographs: Path, tmp_path: Path) -> None:
    data = f"imagefolder:{photographs}"
    quick = {"training.epochs": 1, "training.limit": 40, "training.batch_size": 16}
    crop = quick | {"preprocess.crop": 0.8}
    made = nas.train_genome(trained, data, out=tmp_path / "out", settings=crop, device="cpu", progress=False).file
    expected = load_genome(trained).preprocess.model_copy(update={"crop": 0.8})
    assert load_genome(made).preprocess == expected == nas.load(made).transform.preprocess
    assert load_genome(made).hash == load_genome(trained).hash
    with pytest.raises(nas.SpecError, match=r"belongs to another training: preprocess is .*\"crop\":0\.8"):
        nas.train_genome(trained, data, out=tmp_path / "out", settings=quick, device="cpu", progress=False)


def test_a_genome_that_was_written_resumes_itself(trained: Path, photographs: Path) -> None:
    """Values that are the training images' own are the same training as none."""
    settings = {"training.epochs": 4, "training.batch_size": 16}
    data = f"imagefolder:{photographs}"
    before = trained.with_name("weights.safetensors").read_bytes()
    nas.train_genome(trained, data, out=trained.parent, settings=settings, device="cpu", progress=False)
    assert trained.with_name("weights.safetensors").read_bytes() == before


def test_metadata_that_is_not_needed_need_not_make_sense(
    trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Other programs have keys of the same names."""
    weights = tmp_path / "weights.safetensors"
    save_file(load_file(trained.with_name("weights.safetensors")), weights, {"class_names": "cat,dog"})
    shutil.copy(trained, tmp_path / "genome.yaml")
    assert nas.load(tmp_path / "genome.yaml").class_names == ("left", "top")
    (record,) = caplog.records
    assert record.getMessage().endswith("the weights were trained with 'cat,dog'")
