"""Conversions on images without labels: the parent labels them, once, and accuracy is agreement with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import nas
from nas.convert.labelling import FILE, check_labels, kept_labels
from nas.convert.run import ConversionResult, convert
from nas.convert.spec import ConversionSpec
from nas.data import ImageSet, labelled
from nas.engine import Event, Pool
from nas.errors import DataError, RunError, SpecError
from nas.plain_yaml import read_yaml
from nas.report import write_report
from nas.report.conversion import sensitivity_table
from nas.report.run import read_run
from nas.report.tables import front_table
from nas.timm.donor import read_donor
from nas.train import Task, Teacher, Training, evaluate
from nas.train.loss import TrainingLoss
from tests.report.described import undescribed


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 of scikit-learn's digits as small PNG files, in folders that are no classes."""
    folder = tmp_path_factory.mktemp("photos")
    for number, image in enumerate(load_digits().images[:300]):
        file = folder / f"roll {number % 3}" / f"{number:03d}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((image * 255 / 16).astype("uint8")).save(file)
    return folder


def spec(parent: Path, photos: Path, **keys: Any) -> ConversionSpec:
    small = {
        "start": str(parent),
        "data": f"images:{photos}",
        "library": {"rounds": 1, "images": 64},
        "scored": 60,
        "tried": 2,
        "points": 2,
        "workers": {"count": 1},  # a worker takes longer to start than to do all of this
        "training": {"epochs": 1, "validation": 0.25},
    }
    return ConversionSpec.parse(small | keys).only(["reuse"])


@pytest.fixture(scope="module")
def whole(parent: Path, photos: Path, pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> ConversionResult:
    return convert(spec(parent, photos), tmp_path_factory.mktemp("whole") / "run")


def images_of(run: Path, parent: Path, photos: Path) -> ImageSet:
    return replace(spec(parent, photos).task, labels=kept_labels(run)).load()


def test_the_parent_agrees_with_itself_and_winners_are_measured_by_that(
    whole: ConversionResult, parent: Path, photos: Path
) -> None:
    run = whole.directory
    images = images_of(run, parent, photos)
    assert (len(images.train), len(images.validation), len(images.test)) == (180, 60, 60)
    assert images.preprocess == nas.load_genome(parent).preprocess
    for split in (images.train, images.validation, images.test):
        assert evaluate(nas.build(parent, weights=True), split) == 1.0
        assert split.labels_N.min() >= 0 and len(split.labels_N.unique()) > 5
    table = whole.sensitivity
    assert (table["delta_accuracy"] <= 0).all()
    assert table["delta_accuracy"].tolist() == pytest.approx((table["agreement"] - 1).tolist())
    assert whole.trials["state"].tolist() == ["complete"] * len(whole.trials)
    assert whole.trials["accuracy"].min() < 1
    row = whole.front.iloc[-1]
    winner, transform, names = nas.load(run / "winners" / f"{row['winner']}.yaml")
    assert evaluate(winner, images.validation) == row["accuracy"]
    assert evaluate(winner, images.test) == row["accuracy_test"]
    assert undescribed(run) == []
    assert names == nas.load_genome(parent).class_names
    assert transform(photos / "roll 0/000.png").shape == (1, 8, 8)


def test_whoever_reads_accuracy_is_told_that_it_is_agreement(whole: ConversionResult) -> None:
    run = read_run(whole.directory)
    assert read_yaml(whole.directory / "run.yaml")["accuracy"] == run.meaning == "agreement with the parent"
    winner = whole.directory / "winners" / f"{whole.front['winner'].iloc[0]}.yaml"
    assert "agreement with the parent" in winner.read_text().splitlines()[0]
    page = write_report(whole.directory).read_text()
    shown = page.partition("Specification, every default")[0]
    assert "accuracy is agreement with the parent, in trials.csv" in shown and "Agreement is top-1 against" in shown
    assert "agreement %" in shown and "accuracy %" not in shown and "validation accuracy" not in shown
    headings = [
        *(str(column.header) for column in front_table(run.front, run.layers, run.worded).columns),
        *(str(column.header) for column in sensitivity_table(whole.sensitivity, run.worded).columns),
    ]
    assert {"agreement %", "agreement"} <= set(headings) and "accuracy" not in " ".join(headings)


def test_an_interrupted_conversion_keeps_its_labels_and_ends_as_if_nothing_had_happened(
    whole: ConversionResult, parent: Path, photos: Path, pool: Pool, tmp_path: Path
) -> None:
    run, written = tmp_path / "run", []
    for moment in ("the images have no labels", "repairing"):

        def interrupt(event: Event, moment: str = moment) -> None:
            if event.data.get("text", "").startswith(moment):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            convert(spec(parent, photos), run, on_event=interrupt)
        written.append((run / FILE).stat().st_mtime_ns if (run / FILE).exists() else 0)
    again = convert(spec(parent, photos), run)
    assert written[0] == 0 < written[1] == (run / FILE).stat().st_mtime_ns
    assert (run / FILE).read_bytes() == (whole.directory / FILE).read_bytes()
    timed = ["delta_ms"]  # each run has its own timings
    pd.testing.assert_frame_equal(again.sensitivity.drop(columns=timed), whole.sensitivity.drop(columns=timed))
    columns = ["trial", "hash", "accuracy", "seed"]
    pd.testing.assert_frame_equal(again.trials[columns], whole.trials[columns])
    assert again.front["accuracy_test"].tolist() == whole.front["accuracy_test"].tolist()


def test_labels_of_other_images_and_damaged_ones_are_refused(
    whole: ConversionResult, parent: Path, photos: Path, tmp_path: Path
) -> None:
    labels = kept_labels(whole.directory)
    assert labels is not None
    check_labels(labels, labels.parent or "", whole.directory)
    with pytest.raises(RunError, match=rf"{FILE}: the answers of another model; restore it"):
        check_labels(labels, "another model", whole.directory)
    extra = photos / "roll 0/later.png"
    Image.new("L", (8, 8)).save(extra)
    try:
        with pytest.raises(DataError, match="not those that the model has labelled"):
            convert(spec(parent, photos), whole.directory)
    finally:
        extra.unlink()
    other = Task(f"images:{photos}", Training(validation=0.25), seed=1, preprocess=nas.load_genome(parent).preprocess)
    with pytest.raises(DataError, match="not those"):
        labelled(other.load(), labels)
    (tmp_path / FILE).write_bytes((whole.directory / FILE).read_bytes()[:-9])
    with pytest.raises(RunError, match=rf"{FILE}: damaged \(.*\); .*delete it"):
        kept_labels(tmp_path)
    content = json.loads((whole.directory / FILE).read_text())
    content["validation"][0] = (content["validation"][0] + 1) % 10
    (tmp_path / FILE).write_text(json.dumps(content))
    with pytest.raises(RunError, match=f"{FILE}: damaged .a value has changed"):
        kept_labels(tmp_path)
    (tmp_path / FILE).unlink()
    (tmp_path / FILE).mkdir()
    with pytest.raises(RunError, match=rf"{FILE}: damaged \(Is a directory\); .*delete it"):
        kept_labels(tmp_path)
    assert kept_labels(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0], r"train cannot have 1 labels of \d+ images"),  # would be the label of every image
        ([0, 1], r"train cannot have 2 labels of \d+ images"),
        (None, r"train cannot have \d+ labels of \d+ images, class 10 of 10"),
        ([-1], "expected at least 0, found -1"),
        ([True], "expected a whole number, found True"),
    ],
)
def test_labels_of_ones_own_have_to_be_labels(
    photos: Path, parent: Path, tmp_path: Path, labels: list[int] | None, said: str
) -> None:
    """Without the key sha256 a file is somebody's own."""
    preprocess = nas.load_genome(parent).preprocess
    images = Task(f"images:{photos}", Training(validation=0.25), seed=0, preprocess=preprocess).load()
    content = {name: [0] * len(getattr(images, name)) for name in ("train", "validation", "test")}
    content["train"] = [*content["train"][1:], 10] if labels is None else labels
    classes = list(map(str, range(10)))
    (tmp_path / FILE).write_text(json.dumps({"classes": classes, "images": images.digest, **content}))
    with pytest.raises(SpecError, match=rf"{said}.*; restore.*or delete it, and the model labels the images again"):
        labelled(images, kept_labels(tmp_path) or pytest.fail("no file"))


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_no_label_enters_a_repair_by_distillation_alone(kind: str, parent: Path, few: ImageSet) -> None:
    teacher = Teacher.model_validate({"model": str(parent), "kind": kind, "weight": 1.0, "hidden": 1.0})
    genome = read_donor(str(parent)).genome
    loss = TrainingLoss(genome, Training(teacher=teacher, label_smoothing=0.1), few, torch.device("cpu"))
    images_BCHW, labels_B = next(few.train.batches(16))
    found = []
    for labels in (labels_B, (labels_B + 1) % 10):
        model = read_donor(str(parent)).model().train()
        logits_BK, trace = model(images_BCHW, trace=True)
        terms = loss(logits_BK * 2, trace, labels, images_BCHW)
        terms["loss"].backward()
        found.append([terms["loss"].detach(), *(p.grad for p in model.parameters() if p.grad is not None)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True)) and found[0][0] > 0


@pytest.fixture
def few(parent: Path) -> ImageSet:
    return nas.load_data("digits", limit=64, preprocess=nas.load_genome(parent).preprocess)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"training": {"teacher": {"model": "PARENT", "kind": "soft"}}}, "teacher.weight: the images have no labels"),
        ({"data": "PHOTOS"}, "it is a folder: write imagefolder:"),
        ({"data": "imagefolder:PHOTOS/roll 0"}, "100 images without labels; .*write images:"),
        ({"data": "imagefolder:PHOTOS"}, "where folders are no classes, write images:PATH"),
        ({"data": "images:PHOTOS/nowhere"}, "no such directory"),
    ],
)
def test_a_mistake_is_one_message_and_leaves_nothing(
    keys: dict[str, Any], message: str, parent: Path, photos: Path, tmp_path: Path
) -> None:
    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        return value.replace("PARENT", str(parent)).replace("PHOTOS", str(photos))

    with pytest.raises(SpecError, match=message):
        convert(spec(parent, photos, **filled(keys)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "verb",
    [
        lambda data, parent, out: nas.run_search("lavit_split", out, settings={"data": data}),
        lambda data, parent, out: nas.run_search("lavit_split", out, settings={"data": data, "start": parent}),
        lambda data, parent, out: nas.run_ablation("lavit_parts", out, settings={"data": data}),
        lambda data, parent, out: nas.train_genome("mixed_digits", data, out=out),
        lambda data, parent, out: nas.train_genome(data=data, start=parent, out=out),
    ],
)
def test_what_learns_classes_refuses_images_without_labels(
    verb: Callable[[str, str, Path], Any], parent: Path, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"images have no labels.* only `nas convert`"):
        verb(f"images:{photos}", str(parent), tmp_path / "run")
    assert not (tmp_path / "run").exists()
