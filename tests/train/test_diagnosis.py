from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from nas.blocks import Scores
from nas.data import Split, load
from nas.genome import list_presets, load_genome
from nas.model import Model, build
from nas.model.layer import AttentionTrace
from nas.train.diagnosis import Diagnosis, LayerDiagnosis, _attention, _neighbours, diagnose


@pytest.fixture(scope="module")
def split() -> Split:
    return load("digits", limit=400).validation


def edited(preset: str, **edits: object) -> Model:
    torch.manual_seed(0)
    return build(load_genome(preset).edit({path.replace("__", "."): value for path, value in edits.items()}))


def by_layer(found: Diagnosis) -> dict[str, LayerDiagnosis]:
    return {layer.layer.replace("stages.", "").replace(".layers", ""): layer for layer in found.layers}


def test_layers_that_repeat_the_one_before_are_alike(split: Split) -> None:
    """A fresh LA layer has the identity for its maps; random softmax layers are less alike."""
    model = edited("lavit_digits", stages__1__split=2)
    with torch.no_grad():
        for layer in (layer for stage in model.stages for layer in stage.layers if layer.attention.qkv is not None):
            layer.attention.qkv.weight.mul_(20)  # fresh attention is nearly uniform, and so all alike
    layers = by_layer(diagnose(model, split))
    for name in ("0.2", "1.2", "1.3"):
        assert layers[name].core == "less"
        assert layers[name].similarity == pytest.approx(1, abs=1e-5)
        assert layers[name].centred == pytest.approx(1, abs=1e-5)
        assert layers[name].best_head == pytest.approx(1, abs=1e-5)
        assert layers[name].psi == layers[name].theta == 0
        assert layers[name].entropy == pytest.approx(layers["1.1" if name > "1" else "0.1"].entropy, abs=1e-5)
    random = layers["0.1"]
    assert random.similarity is not None and random.best_head is not None
    assert random.similarity < 0.9
    assert random.best_head >= random.similarity
    assert random.psi is None and random.mask_end is None
    assert layers["0.0"].similarity is None and layers["1.0"].similarity is None  # the first of its stage


def test_uniform_attention(split: Split) -> None:
    model = edited("lavit_digits")
    with torch.no_grad():
        model.stages[0].layers[0].attention.qkv.weight.zero_()
    layer = by_layer(diagnose(model, split))["0.0"]
    for value in (layer.entropy, layer.diagonal, layer.near):
        assert value == pytest.approx(1, abs=1e-5)
    with torch.no_grad():
        model.stages[0].layers[1].attention.qkv.weight.zero_()
    after = by_layer(diagnose(model, split))["0.1"]
    assert after.similarity == pytest.approx(1, abs=1e-5)
    assert after.centred is None  # there is nothing beyond uniform attention to compare


def test_attention_that_is_nearly_uniform_is_alike_and_yet_is_not(split: Split) -> None:
    layer = by_layer(diagnose(edited("lavit_digits"), split))["0.1"]  # two softmax layers, fresh
    assert layer.core == "softmax"
    assert layer.similarity is not None and layer.similarity > 0.98
    assert layer.centred is not None and abs(layer.centred) < 0.3


def test_attention_to_oneself_alone() -> None:
    stage = load_genome("lavit_digits").layout[0]  # a grid of 4×4
    scores = Scores(matrix_BHNN=1e4 * torch.eye(16).expand(2, 2, 16, 16))
    found = {name: float(value) for _, name, value in _attention(stage, AttentionTrace({"stages.0.layers.0": scores}))}
    # 4 corners with 4 neighbours (themselves included), 8 edges with 6, 4 inside with 9: 100 of 256
    assert found == pytest.approx({"diagonal": 16.0, "near": 2.56, "entropy": 0.0}, abs=1e-5)


def test_neighbours_on_the_grid_and_a_class_token() -> None:
    near_NN = _neighbours((2, 3), prefix=1)
    assert near_NN.sum(1).tolist() == [1, 4, 6, 4, 4, 6, 4]
    assert near_NN[0].tolist() == [True, *[False] * 6]
    assert near_NN[1].tolist() == [False, True, True, False, True, True, False]


def test_figures_are_what_the_definitions_say(split: Split) -> None:
    """Against loops over all images and heads, in one batch."""
    model = edited("lavit_digits", stages__1__split=4).eval()
    images_BCHW, _ = next(split.batches(len(split), seed=None))
    with torch.no_grad():
        _, trace = model(images_BCHW, trace=True)
    a, b = (trace.scores[f"stages.1.layers.{i}"].weights().flatten(0, 1) for i in (2, 1))
    layer = by_layer(diagnose(model, split))["1.2"]
    alike = [float(cosine_similarity(x.flatten(), y.flatten(), 0)) for x, y in zip(a, b, strict=True)]
    assert layer.similarity == pytest.approx(sum(alike) / len(alike), abs=1e-5)
    beyond = [
        float(cosine_similarity((x - 1 / 4).flatten(), (y - 1 / 4).flatten(), 0)) for x, y in zip(a, b, strict=True)
    ]
    assert layer.centred == pytest.approx(sum(beyond) / len(beyond), abs=1e-4)
    entropy = [float(-(row * row.log()).sum()) / math.log(len(row)) for matrix in a for row in matrix]
    assert layer.entropy == pytest.approx(sum(entropy) / len(entropy), abs=1e-5)
    assert layer.diagonal == pytest.approx(4 * float(a.diagonal(dim1=1, dim2=2).mean()), abs=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"per_head": True}, {"transform": "conv"}, {"transform": "conv", "per_head": True}]
)
def test_maps_that_are_away_from_the_identity(split: Split, options: dict[str, object]) -> None:
    model = edited("lavit_digits", **{"stages.0.tail": {"block": "less", **options}})
    core = model.get_submodule("stages.0.layers.2.attention.core")
    with torch.no_grad():
        core.psi.weight.mul_(3)  # T = 3 I: twice the identity away from it
        core.theta.weight.mul_(0)
    layer = by_layer(diagnose(model, split))["0.2"]
    assert (layer.psi, layer.theta) == pytest.approx((2, 1), abs=1e-5)


def test_a_low_rank_map(split: Split) -> None:
    model = edited("lavit_digits", **{"stages.0.tail": {"block": "less", "transform": "low_rank", "rank": 2}})
    psi = model.get_submodule("stages.0.layers.2.attention.core.psi")
    with torch.no_grad():
        psi.up.normal_()
    layer = by_layer(diagnose(model, split))["0.2"]
    assert layer.psi == pytest.approx(float((psi.up @ psi.down).norm().detach()) / 4, rel=1e-4)
    assert layer.theta == 0


def test_the_mask_is_full_at_first_and_empty_in_the_end(split: Split) -> None:
    model = edited("castling_digits").train()
    found = diagnose(model, split)
    assert model.training
    for layer in found.layers:
        assert layer.mask_start is not None and layer.mask_start > 0.1
        assert layer.mask_end == 0
        assert layer.exact is False  # softmax of q·k is not what a linear core computes


def test_cores_without_scores_have_none_of_the_figures(split: Split) -> None:
    model = edited("mixed_digits", **{"stages.0.layers.1.core": "pooling", "stages.0.layers.2.core": "softmax"})
    layers = by_layer(diagnose(model, split))
    pooled, after = layers["0.1"], layers["0.2"]
    assert (pooled.exact, pooled.similarity, pooled.diagonal, pooled.entropy) == (None, None, None, None)
    assert after.similarity is None  # there is nothing right before it to compare with
    assert after.entropy is not None


def test_accuracy_is_of_the_images_that_were_looked_at(split: Split) -> None:
    model = edited("lavit_digits")
    found = diagnose(model, split)
    right = sum(int((model.eval()(x).argmax(1) == y).sum()) for x, y in split.batches(50, seed=None))
    assert (found.images, found.accuracy) == (len(split), right / len(split))


@pytest.mark.parametrize("preset", [name for name in list_presets() if name.endswith(("_digits", "_micro_32"))])
def test_every_small_preset_can_be_diagnosed(preset: str) -> None:
    genome = load_genome(preset).edit({"classes": 10})
    images = load("digits", size=genome.image.size, limit=60)
    model = edited(preset, **{"image.channels": 1})
    found = diagnose(model, images.validation)
    assert [layer.layer for layer in found.layers] == [plan.name for stage in genome.layout for plan in stage.layers]
    for layer in found.layers:
        assert layer.entropy is None or 0 <= layer.entropy <= 1 + 1e-5
        assert layer.similarity is None or layer.similarity <= 1 + 1e-5
