"""Teachers: genomes, models of timm and torchvision; logits and hidden states; pixels; bad teachers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas.data import Preprocess
from nas.errors import GenomeError, RunError, SpecError
from nas.genome import Genome
from nas.model import build
from nas.model.donor import Donor
from nas.model.layer import AttentionTrace
from nas.model.pixels import served
from nas.timm.outside import outside_model, preprocess_of
from nas.train import Teacher, Training, check_teacher, train
from nas.train.distillation import Distillation
from nas.train.loss import TrainingLoss

CPU = torch.device("cpu")


@pytest.fixture
def batch(few_digits):
    return next(iter(few_digits.train.batches(16, device=CPU, seed=0)))


@pytest.fixture
def lavit_teacher(tmp_path, lavit):
    """As a winner: a genome file with its weights beside it."""
    torch.manual_seed(1)
    model = build(lavit).eval()
    (tmp_path / "winner.yaml").write_text(lavit.to_yaml())
    save_file(model.state_dict(), tmp_path / "winner.safetensors")
    return str(tmp_path / "winner.yaml"), model


def timm_folder(folder: Path, name: str, **args: Any) -> str:
    """A folder of timm with random weights for 10 classes; its pixels have a mean and std of their own."""
    torch.manual_seed(2)
    options = {"pretrained_cfg_overlay": {"mean": (0.3, 0.4, 0.5), "std": (0.2, 0.3, 0.4)}, "num_classes": 10}
    model = timm.create_model(name, **options, **args)
    size = args.get("img_size", 32)
    model.pretrained_cfg["input_size"] = (3, size, size)
    timm.models.save_for_hf(model, folder, model_args=args, safe_serialization=True)
    return f"local-dir:{folder}"


def pixels_of(images_BCHW: Tensor, data: Any) -> Tensor:
    """The raw pixels in 0..1."""
    mean_C11, std_C11 = (
        torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (data.preprocess.mean, data.preprocess.std)
    )
    return images_BCHW.double() * std_C11 + mean_C11


def expected_term(logits_BK: Tensor, teacher_BK: Tensor, kind: str, t: float) -> Tensor:
    if kind == "hard":
        return F.cross_entropy(logits_BK, teacher_BK.argmax(1))
    p_BK = (teacher_BK / t).softmax(1)
    return t**2 * (p_BK * (p_BK.log() - (logits_BK / t).log_softmax(1))).sum(1).mean()


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("spelling", ["model", "genome and weights"])
def test_a_genome_as_teacher(lavit, few_digits, batch, lavit_teacher, kind, spelling):
    images_BCHW, labels_B = batch
    file, model = lavit_teacher
    old = {"genome": "lavit_digits", "weights": file.replace(".yaml", ".safetensors")}
    teacher = {"model": file} if spelling == "model" else old
    training = Training(teacher=teacher | {"kind": kind, "weight": 0.3, "temperature": 2.0})
    logits_BK = torch.randn(16, 10)
    with torch.no_grad():
        expected = expected_term(logits_BK, model(images_BCHW), kind, 2.0)
    terms = TrainingLoss(lavit, training, few_digits, CPU)(logits_BK, AttentionTrace(), labels_B, images_BCHW)
    torch.testing.assert_close(terms["distillation"], expected)
    torch.testing.assert_close(terms["loss"], 0.7 * terms["cross_entropy"] + 0.3 * expected)
    assert "hidden" not in terms


@pytest.fixture(params=["deit", "resnet", "torchvision"])
def outside(request, tmp_path):
    if request.param == "deit":
        return timm_folder(tmp_path, "deit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=24, depth=1)
    if request.param == "resnet":
        return timm_folder(tmp_path, "resnet18", channels=(4, 4, 8, 8), stem_width=4)
    torch.manual_seed(2)
    save_file(torchvision.models.resnet18(num_classes=10).state_dict(), tmp_path / "w.safetensors")
    return f"torchvision:resnet18@{tmp_path}/w.safetensors"


def test_a_model_of_timm_or_torchvision_as_teacher(lavit, few_digits, batch, outside):
    """Against raw pixels that are normalised with the teacher's own mean and std, in float64."""
    images_BCHW = batch[0][:2]
    model = outside_model(outside)
    wanted = preprocess_of(model)
    mean_C11, std_C11 = (torch.tensor(wanted[key], dtype=torch.float64)[:, None, None] for key in ("mean", "std"))
    rgb_BCHW = (pixels_of(images_BCHW, few_digits).expand(-1, 3, -1, -1) - mean_C11) / std_C11
    rgb_BCHW = F.interpolate(rgb_BCHW, (wanted["size"],) * 2, mode="bilinear").float()
    term = Distillation(Teacher(model=outside, kind="soft"), lavit, few_digits, CPU)
    torch.testing.assert_close(term.pixels(images_BCHW), rgb_BCHW, rtol=1e-5, atol=1e-5)
    logits_BK = torch.randn(2, 10)
    with torch.no_grad():
        expected = expected_term(logits_BK, model(rgb_BCHW), "soft", 1.0)
    torch.testing.assert_close(term(logits_BK, AttentionTrace(), images_BCHW)["distillation"], expected)


def test_a_genome_for_larger_images_as_teacher(tmp_path, lavit, few_digits, batch):
    genome = lavit.edit({"image.size": 16})
    (tmp_path / "large.yaml").write_text(genome.to_yaml())
    model = build(genome).eval()
    save_file(model.state_dict(), tmp_path / "large.safetensors")
    term = Distillation(Teacher(model=str(tmp_path / "large.yaml")), lavit, few_digits, CPU)
    expected_BCHW = F.interpolate(batch[0], (16, 16), mode="bilinear")
    torch.testing.assert_close(term.pixels(batch[0]), expected_BCHW)


def plain_vit(depth: int, image: int = 16) -> Genome:
    """What `nas.from_timm` makes of the DeiT below, with another depth."""
    stage = {"patch": 8, "width": 24, "heads": 3, "depth": depth}
    return Genome.parse({"image": {"size": image, "channels": 3}, "classes": 10, "pool": "token", "stages": [stage]})


def deit(folder: Path, depth: int = 2) -> str:
    return timm_folder(folder, "deit_tiny_patch16_224", img_size=16, patch_size=8, embed_dim=24, depth=depth)


def test_a_student_equal_to_its_teacher_has_nothing_to_learn(lavit, few_digits, batch, lavit_teacher):
    file, model = lavit_teacher
    term = Distillation(Teacher(model=file, kind="soft", hidden=1.0), lavit, few_digits, CPU)
    with torch.no_grad():
        terms = term(*model(batch[0], trace=True), batch[0])
    assert terms["distillation"].item() == pytest.approx(0, abs=1e-6)
    assert terms["hidden"].item() == pytest.approx(0, abs=1e-6)


REORDERED = ("3", "1", "4", "0", "5", "9", "2", "6", "8", "7")


@pytest.mark.parametrize("kind", ["hard", "soft"])
@pytest.mark.parametrize("hidden", [0.0, 1.0])
def test_a_teacher_whose_classes_have_another_order_is_understood(
    lavit, few_digits, batch, lavit_teacher, kind, hidden
):
    file, model = lavit_teacher
    Path(file).write_text(lavit.edit({"class_names": REORDERED}).to_yaml())
    term = Distillation(Teacher(model=file, kind=kind, hidden=hidden), lavit, few_digits, CPU)
    with torch.no_grad():
        teacher_BK, trace = model(batch[0], trace=True)
        own_BK = torch.stack([teacher_BK[:, REORDERED.index(name)] for name in few_digits.classes], 1)
        logits_BK = torch.randn(16, 10)
        found = term(logits_BK, trace, batch[0])["distillation"]
    torch.testing.assert_close(found, expected_term(logits_BK, own_BK, kind, 1.0))


def test_a_timm_teacher_whose_classes_have_another_order_is_understood(tmp_path, lavit, few_digits, batch):
    source = timm_folder(tmp_path, "resnet18", channels=(4, 4, 8, 8), stem_width=4)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"label_names": [*REORDERED]}))
    term = Distillation(Teacher(model=source), lavit, few_digits, CPU)
    assert term.order_K is not None
    assert term.order_K.tolist() == [REORDERED.index(name) for name in few_digits.classes]
    for unusable in ({str(number): "name" for number in range(10)}, [*range(10)], [*REORDERED, "10"], ["1"] * 10):
        (tmp_path / "config.json").write_text(json.dumps(config | {"label_names": unusable}))
        assert Distillation(Teacher(model=source), lavit, few_digits, CPU).order_K is None


def test_a_teacher_of_other_classes_is_refused(lavit, few_digits, lavit_teacher):
    names = ("cat", *REORDERED[1:])
    Path(lavit_teacher[0]).write_text(lavit.edit({"class_names": names}).to_yaml())
    animals = replace(few_digits, classes=("dog", *REORDERED[1:]))
    with pytest.raises(
        GenomeError, match=r"training.teacher: the teacher has no class 'dog', .* \['cat', .*class_names"
    ):
        check_teacher(Teacher(model=lavit_teacher[0]), lavit, animals)
    check_teacher(Teacher(model=lavit_teacher[0]), lavit, few_digits)  # classes without names are called by numbers


def test_a_teacher_of_a_folder_whose_name_is_no_unicode_knows_its_classes(lavit, few_digits, lavit_teacher):
    named = replace(few_digits, classes=("caf\udce9", *REORDERED[1:]))
    Path(lavit_teacher[0]).write_text(lavit.edit({"class_names": served(named)["class_names"]}).to_yaml())
    check_teacher(Teacher(model=lavit_teacher[0]), lavit, named)


def test_a_teacher_that_is_given_needs_no_file_and_may_move(tmp_path, lavit, few_digits, lavit_teacher):
    file, model = lavit_teacher
    donor, common = Donor.of(model), {"kind": "soft", "weight": 1.0, "hidden": 1.0}
    read = Training(epochs=2, teacher={"model": file} | common)
    here, there = (Training(epochs=2, teacher={"model": str(tmp_path / name)} | common) for name in ("here", "there"))
    whole = train(lavit, few_digits, read, directory=tmp_path / "read", seed=0)
    train(lavit, few_digits, here, directory=tmp_path / "given", seed=0, teacher=donor, until=1)
    given = train(lavit, few_digits, there, directory=tmp_path / "given", seed=0, teacher=donor)
    assert [row["loss"] for row in given.metrics] == [row["loss"] for row in whole.metrics]
    other = replace(donor, state={name: 2 * tensor for name, tensor in donor.state.items()})
    with pytest.raises(RunError, match=r"training\.teacher\.model"):
        train(lavit, few_digits, there, directory=tmp_path / "given", seed=0, teacher=other)


def test_hidden_states_against_the_definition(lavit, few_digits, batch, lavit_teacher):
    """With hooks of its own, layer by layer and token by token."""
    images_BCHW, labels_B = batch
    file, teacher = lavit_teacher
    torch.manual_seed(5)
    student = build(lavit).eval()
    seen: list[list[Tensor]] = [[], []]
    for model, states in zip((student, teacher), seen, strict=True):
        for stage in model.stages:
            for layer in stage.layers:
                layer.register_forward_hook(lambda module, inputs, output, states=states: states.append(output[0]))
    criterion = TrainingLoss(lavit, Training(teacher={"model": file, "hidden": 0.5}), few_digits, CPU)
    assert criterion.reads_trace
    with torch.no_grad():
        logits_BK, trace = student(images_BCHW, trace=True)
        teacher(images_BCHW)
        terms = criterion(logits_BK, trace, labels_B, images_BCHW)
    distances = [
        1 - ((a_BNC * b_BNC).sum(2) / (a_BNC.norm(dim=2) * b_BNC.norm(dim=2))).mean()
        for a_BNC, b_BNC in zip(*seen, strict=True)
    ]
    assert len(distances) == sum(len(stage.layers) for stage in student.stages)
    torch.testing.assert_close(terms["hidden"], torch.stack(distances).mean())
    half = torch.lerp(terms["cross_entropy"], terms["distillation"], 0.5)
    torch.testing.assert_close(terms["loss"], half + 0.5 * terms["hidden"])


def test_a_deeper_teacher_is_compared_at_the_ends_of_stages(tmp_path, lavit, few_digits):
    deeper = lavit.edit({"stages.1.depth": lavit.stages[1].depth + 2})
    (tmp_path / "deep.yaml").write_text(deeper.to_yaml())
    save_file(build(deeper).state_dict(), tmp_path / "deep.safetensors")
    pairs = Distillation(Teacher(model=str(tmp_path / "deep.yaml"), hidden=1), lavit, few_digits, CPU).pairs
    first, second = (len(stage.layers) for stage in lavit.layout)
    same = [f"stages.0.layers.{j}" for j in range(first)]
    assert pairs == [*zip(same, same, strict=True), (f"stages.1.layers.{second - 1}", f"stages.1.layers.{second + 1}")]


def test_a_deit_teaches_its_hidden_states(tmp_path, few_digits):
    """Through `nas.from_timm`; the logits are those of timm's own model."""
    student = plain_vit(depth=2)
    source = deit(tmp_path)
    term = Distillation(Teacher(model=source, hidden=1, kind="soft"), student, few_digits, CPU)
    assert term.pairs == [(f"stages.0.layers.{j}",) * 2 for j in range(2)]
    images_BCHW = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        logits_BK, trace = build(student)(images_BCHW, trace=True)
        grey = Distillation(Teacher(model=source, kind="soft"), student, few_digits, CPU)
        assert 0 < term(logits_BK, trace, images_BCHW)["hidden"] < 2
        plain = grey(logits_BK, trace, images_BCHW)["distillation"]
        torch.testing.assert_close(term(logits_BK, trace, images_BCHW)["distillation"], plain, rtol=1e-4, atol=1e-5)


def test_hidden_states_come_closer_in_training_and_resume_exactly(tmp_path, few_digits, lavit, lavit_teacher):
    teacher = {"model": lavit_teacher[0], "kind": "soft", "weight": 1.0, "hidden": 2.0}
    training = Training(epochs=3, teacher=teacher)
    rows = train(lavit, few_digits, training, directory=tmp_path / "whole", seed=0).metrics
    assert rows[2]["hidden"] < 0.7 * rows[0]["hidden"]
    assert "hidden" in (tmp_path / "whole/metrics.csv").read_text().splitlines()[0].split(",")
    train(lavit, few_digits, training, directory=tmp_path / "halves", seed=0, until=1)
    train(lavit, few_digits, training, directory=tmp_path / "halves", seed=0)
    whole, halves = (load_file(tmp_path / name / "weights.safetensors") for name in ("whole", "halves"))
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


def test_hidden_states_of_a_compiled_student(tmp_path, few_digits, lavit, lavit_teacher, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager", fullgraph=True))
    teacher = {"model": lavit_teacher[0], "hidden": 1.0}
    compiled, plain = (
        train(lavit, few_digits, Training(epochs=1, teacher=teacher, compile=on), directory=tmp_path / str(on), seed=0)
        for on in (True, False)
    )
    assert compiled.metrics[0]["hidden"] == pytest.approx(plain.metrics[0]["hidden"], rel=1e-4)


def test_a_checkpoint_of_before_hidden_states_resumes():
    """Its record of the training lacks the new keys: they must be null where they are not used."""
    recorded = Teacher(genome="lavit_digits", weights="w.safetensors").model_dump(mode="json")
    old = {"genome", "weights", "kind", "weight", "temperature"}
    assert {key for key, value in recorded.items() if value is not None} == old


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({}, "one of model and genome"),
        ({"model": "a.yaml", "genome": "b.yaml"}, "one of model and genome"),
        ({"model": "timm:resnet18@w.pth", "weights": "w.pth"}, "part of the model's name"),
        ({"model": "lavit_digits"}, "the weights of the preset lavit_digits"),
        ({"model": "a.yaml", "hidden": -1}, "greater than or equal to 0"),
    ],
)
def test_a_teacher_that_is_no_teacher(teacher, message):
    with pytest.raises(ValidationError, match=message):
        Teacher(**teacher)


def test_a_teacher_that_does_not_fit_is_one_message(tmp_path, lavit, few_digits, lavit_teacher):
    file, _ = lavit_teacher

    def check(student: Genome = lavit, **teacher: Any) -> None:
        check_teacher(Teacher(**teacher), student, few_digits)

    check(model=file, hidden=1.0)
    with pytest.raises(GenomeError, match=r"training.teacher: the teacher's classes must be the student's 7, found 10"):
        check(lavit.edit({"classes": 7}), model=file)
    with pytest.raises(GenomeError, match=r"training.teacher.hidden: .*expected width 48, .*; .*found width"):
        check(lavit.edit({"stages.0.width": 48}), model=file, hidden=1.0)
    with pytest.raises(GenomeError, match=r"training.teacher.hidden: .*layers of local-dir:.*unknown.*remove hidden"):
        check(model=timm_folder(tmp_path / "r", "resnet18", channels=(4, 4, 8, 8), stem_width=4), hidden=1.0)
    with pytest.raises(SpecError, match=r"training.teacher: timm:resnet18 lacks a checkpoint"):
        check(model="timm:resnet18")
    with pytest.raises(
        GenomeError, match=r"nothing.safetensors: training.teacher: weights cannot be read: No such file"
    ):
        check(genome="lavit_digits", weights="nothing.safetensors")
    with pytest.raises(GenomeError, match="no genome file and no preset called 'lavit_digit'"):
        check(model="lavit_digit")
    pixels = Preprocess(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    colour = replace(few_digits, channels=3, preprocess=pixels)
    with pytest.raises(GenomeError, match=r"training.teacher: the teacher's channels must be the student's 3, found 1"):
        check_teacher(Teacher(model=file), lavit, colour)
