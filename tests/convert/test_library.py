"""The library and the scores: pieces learn alone, rounds do not depend on company, nothing replaced is bit-equal."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from nas.convert.candidates import DEFAULT, KEEP, listed, offered
from nas.convert.library import Distillation, begin, converted, distil, errors, look, transplanted
from nas.convert.score import Scorer
from nas.convert.shelf import packed, unpacked
from nas.data import ImageSet, load
from nas.genome import load_genome
from nas.heartbeat import heard_by
from nas.model import Donor, build
from nas.timm.donor import read_donor
from nas.train import Training, evaluate, train

HOW = Distillation(rounds=2, images=256)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load("digits", limit=600)


@pytest.fixture(scope="module")
def donor(images: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Donor:
    folder = tmp_path_factory.mktemp("parent")
    genome = listed(load_genome("mixed_digits"))
    train(genome, images, Training(epochs=6), directory=folder, seed=0, threads=1)
    (folder / "genome.yaml").write_text(genome.to_yaml())
    return read_donor(str(folder / "genome.yaml"))


def some(donor: Donor) -> dict[str, list[str]]:
    options = offered(donor.genome, DEFAULT)
    return {layer: options[layer] for layer in ("stages.0.layers.1", "stages.1.layers.2")}


def test_each_step_of_a_piece_and_each_scored_batch_is_a_beat(donor: Donor, images: ImageSet) -> None:
    beats: list[int] = []
    parent, batches = donor.model(), math.ceil(len(images.validation) / 50)
    with heard_by(lambda: beats.append(1)):
        pieces = begin(donor, some(donor), DEFAULT, None)
        assert len(beats) == len(pieces) > 1
        distil(parent, pieces, images.train, images.validation.spread(50), HOW)
        assert len(beats) == len(pieces) * (1 + 256 // HOW.batch_size + 2)  # errors before and after
        beats.clear()
        Scorer(parent, images.validation, batch_size=50)
        assert len(beats) == batches


def test_nothing_replaced_is_the_parent_bit_by_bit(donor: Donor, images: ImageSet) -> None:
    model = converted(donor, {"stages.0.layers.1": KEEP}, DEFAULT, {})
    x_BCHW = next(images.validation.batches(64))[0]
    assert torch.equal(model(x_BCHW), donor.model()(x_BCHW))
    scorer = Scorer(donor.model(), images.validation)
    score = scorer(model)
    assert (score.kl, score.agreement, score.delta_accuracy, score.delta_accuracy_se) == (0.0, 1.0, 0.0, 0.0)


def test_rounds_lower_the_error_and_company_does_not_matter(donor: Donor, images: ImageSet) -> None:
    parent, few = donor.model(), images.train.spread(64)
    start_BCHW = next(few.batches(64))[0]
    together = begin(donor, some(donor), DEFAULT, start_BCHW)
    for _ in range(HOW.rounds):
        distil(parent, together, images.train, images.validation, HOW)
    trained = [piece for piece in together if "linear" in piece.candidate]
    assert trained and all(piece.errors[-1] < piece.errors[0] for piece in trained)

    (alone,) = begin(donor, {"stages.1.layers.2": ["linear_local"]}, DEFAULT, start_BCHW)
    distil(parent, [alone], images.train, images.validation, HOW)
    content = unpacked(packed(alone.content()))  # between two rounds the process ends
    (resumed,) = begin(donor, {"stages.1.layers.2": ["linear_local"]}, DEFAULT, None)
    resumed.resume(content)
    distil(parent, [resumed], images.train, images.validation, HOW)
    (same,) = [piece for piece in together if piece.name == alone.name]
    for name, tensor in same.attention.state_dict().items():
        assert torch.equal(tensor, resumed.attention.state_dict()[name]), name
    assert resumed.errors == pytest.approx(same.errors)


def test_what_a_piece_is_given_is_what_the_parent_gives_its_layer(donor: Donor, images: ImageSet) -> None:
    """A piece that is the parent's own attention answers the same: its error is 0."""
    parent = donor.model()
    (piece,) = begin(donor, {"stages.1.layers.2": ["linear"]}, DEFAULT, None)
    piece.attention = parent.get_submodule("stages.1.layers.2.attention")  # type: ignore[assignment]
    assert errors(parent, [piece], images.validation) == {piece.name: 0.0}
    seen = look(parent, ["stages.1.layers.2"], next(images.validation.batches(8))[0])
    assert seen["stages.1.layers.2"].carry.scores is not None


def test_a_transplanted_piece_is_young_and_the_rest_is_the_parent(donor: Donor, images: ImageSet) -> None:
    pieces = begin(donor, some(donor), DEFAULT, None)
    states = {piece.name: piece.attention.state_dict() for piece in pieces}
    assembly = {"stages.0.layers.1": "reuse", "stages.1.layers.2": "linear_local"}
    made = transplanted(converted(donor, assembly, DEFAULT, states), assembly)
    assert made.young and all(
        name.startswith(tuple(f"{layer}.attention." for layer in assembly)) for name in made.young
    )
    assert all(torch.equal(made.state[name], donor.state[name]) for name in made.state.keys() - made.young)
    assert made.digest != donor.digest
    assert 0.0 <= evaluate(made.model(), images.validation) <= 1.0


def test_scores_are_those_of_the_definition(donor: Donor, images: ImageSet) -> None:
    pieces = begin(donor, {"stages.1.layers.0": ["linear"]}, DEFAULT, None)
    model = converted(
        donor, {"stages.1.layers.0": "linear"}, DEFAULT, {p.name: p.attention.state_dict() for p in pieces}
    )
    score = Scorer(donor.model(), images.validation, batch_size=50)(model)
    x_BCHW, y_B = next(images.validation.batches(len(images.validation)))
    with torch.no_grad():
        p_BK, q_BK = donor.model()(x_BCHW).double().softmax(1), model(x_BCHW).double().softmax(1)
    assert score.kl == pytest.approx(float((p_BK * (p_BK.log() - q_BK.log())).sum(1).mean()), rel=1e-4)
    right, left = (q_BK.argmax(1) == y_B).double(), (p_BK.argmax(1) == y_B).double()
    assert score.delta_accuracy == pytest.approx(float((right - left).mean()))
    assert score.delta_accuracy_se == pytest.approx(float((right - left).std() / len(y_B) ** 0.5))


def test_a_piece_is_a_file_that_holds_no_code(donor: Donor, tmp_path: Path) -> None:
    (piece,) = begin(donor, {"stages.1.layers.2": ["reuse_conv"]}, DEFAULT, None)
    content = unpacked(packed(piece.content()))
    assert content["rounds"] == 0 and content["attention"].keys() == piece.attention.state_dict().keys()


def test_no_divergence_is_below_zero_and_one_that_is_no_number_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    images = load("digits", limit=40)
    parent = build("lavit_digits").eval()
    scorer = Scorer(parent, images.validation)
    monkeypatch.setattr(scorer, "answers", lambda _: scorer.parent_NK + 1e-6)  # what rounding leaves
    assert scorer(parent).kl == 0
    monkeypatch.setattr(scorer, "answers", lambda _: scorer.parent_NK * math.nan)
    assert math.isnan(scorer(parent).kl)
