"""What timm calls on a model: intermediates, heads, checkpointing, layer-wise learning rates; against timm's models."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import timm.optim
import torch
from torch import Tensor

import nas
from nas.errors import SpecError
from nas.model import Model
from nas.model import build as build_plain
from nas.timm import TimmModel
from tests.timm.pairs import SMALL, SWIN, pictures, pvt, scrambled, vit


@torch.no_grad()
def test_the_face_changes_no_weight_and_no_logit() -> None:
    models = []
    for build in (build_plain, nas.build):
        torch.manual_seed(0)
        models.append(build("castling_digits"))
    plain, faced = models
    assert (type(plain), type(faced)) == (Model, TimmModel)
    assert not {"forward_intermediates", "reset_classifier", "set_input_size", "num_features"} & set(dir(plain))
    assert list(faced.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(faced.state_dict(), plain.state_dict(), rtol=0, atol=0)
    images = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(faced(images), plain(images), rtol=0, atol=0)


@torch.no_grad()
def test_copies_and_deployed_models_keep_the_face() -> None:
    model = nas.build("castling_digits", num_classes=3).eval()
    images = torch.randn(2, 1, 8, 8)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), nas.deploy(model)):
        assert type(other) is TimmModel
        torch.testing.assert_close(other(images), model(images))
        assert other.forward_intermediates(images, 1, intermediates_only=True)[0].shape == (2, 64, 2, 2)
    assert type(nas.deploy(build_plain("castling_digits"))) is Model


@torch.no_grad()
def test_intermediates_of_a_plain_vit_are_timms() -> None:
    theirs, ours = vit()
    for options in ({}, {"indices": [0, -1], "norm": True}, {"indices": 2, "output_fmt": "NLC"}):
        expected_x, expected = theirs.forward_intermediates(pictures(64), **options)
        x, found = ours.forward_intermediates(pictures(64), **options)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(x, expected_x, rtol=0, atol=1e-5)
    torch.testing.assert_close(x, ours.forward_features(pictures(64)))
    one = ours.forward_intermediates(pictures(64), indices=[1], intermediates_only=True, stop_early=True)
    torch.testing.assert_close(one[0].flatten(2).mT, found[0])
    with pytest.raises(SpecError, match="NCHW or NLC"):
        ours.forward_intermediates(pictures(64), output_fmt="NHWC")


@torch.no_grad()
def test_intermediates_of_a_pyramid_are_timms() -> None:
    theirs, ours = pvt()
    expected = theirs.forward_intermediates(pictures(224), intermediates_only=True)
    for norm in (False, True):
        found = ours.forward_intermediates(pictures(224), norm=norm, intermediates_only=True)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    x, early = ours.forward_intermediates(pictures(224), [0, 1], stop_early=True)
    torch.testing.assert_close(early, expected[:2], rtol=0, atol=1e-5)
    torch.testing.assert_close(x.mT.unflatten(2, (28, 28)), expected[1], rtol=0, atol=1e-5)
    x, _ = ours.forward_intermediates(pictures(224), [3], stop_early=True)
    torch.testing.assert_close(x, ours.forward_features(pictures(224)))
    kept = ours.prune_intermediate_layers([0, 1])
    torch.testing.assert_close(
        ours.forward_intermediates(pictures(224), kept, intermediates_only=True), expected[:2], rtol=0, atol=1e-5
    )


@torch.no_grad()
def test_intermediates_of_windows_are_timms() -> None:
    theirs = scrambled("swin_tiny_patch4_window7_224", **SWIN)
    ours = nas.from_timm(theirs)
    for options in ({}, {"norm": True}):
        expected = theirs.forward_intermediates(pictures(224), intermediates_only=True, **options)
        found = ours.forward_intermediates(pictures(224), intermediates_only=True, **options)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "vit_small_patch16_224"])
def test_prefix_tokens_and_dictionaries_are_timms(name: str) -> None:
    pool = {"global_pool": "avg"} if name == "vit_small_patch16_224" else {}
    theirs = scrambled(name, img_size=56 if "14" in name else 64, num_classes=7, **pool, **SMALL)
    ours = nas.from_timm(theirs)
    images = pictures(ours.genome.image.size)
    for options in ({}, {"norm": True, "intermediates_only": True}, {"indices": [0], "stop_early": True}):
        expected = theirs.forward_intermediates(images, return_prefix_tokens=True, **options)
        found = ours.forward_intermediates(images, return_prefix_tokens=True, **options)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
        if name != "vit_small_patch16_dinov3":  # which timm gives no dictionaries
            expected = theirs.forward_intermediates(images, output_dict=True, return_prefix_tokens=True, **options)
            found = ours.forward_intermediates(images, output_dict=True, return_prefix_tokens=True, **options)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
            expected = theirs.get_intermediate_layers(images, 2, reshape=True, norm=True)
            found = ours.get_intermediate_layers(images, 2, reshape=True, norm=True)
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_model_without_prefix_tokens_gives_features_alone() -> None:
    _, ours = pvt()
    found = ours.forward_intermediates(pictures(224), return_prefix_tokens=True, output_dict=True)
    assert sorted(found) == ["image_features", "image_intermediates"]


@pytest.mark.parametrize("option", [{"attn_mask": torch.ones(16, 16)}, {"is_causal": True}])
def test_masks_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="attn_mask and is_causal are not supported"):
        nas.build("lavit_digits").forward_intermediates(torch.zeros(1, 1, 8, 8), **option)


@torch.no_grad()
def test_pooling_changes_with_the_head() -> None:
    theirs, ours = vit()
    for model in (theirs, ours):
        model.reset_classifier(5, "avg")
    ours.head.load_state_dict(theirs.head.state_dict())
    torch.testing.assert_close(ours(pictures(64)), theirs(pictures(64)), rtol=0, atol=1e-5)
    assert (ours.genome.pool, ours.genome.classes) == ("patches", 5)
    ours.prune_intermediate_layers([0])
    assert isinstance(ours.head, torch.nn.Identity)


def test_head() -> None:
    model = nas.build("lavit_digits").eval()
    tokens = model.forward_features(torch.randn(2, 1, 8, 8))
    pooled = model.forward_head(tokens, pre_logits=True)
    assert pooled.shape == (2, model.num_features) == (2, 64)
    torch.testing.assert_close(model.get_classifier()(pooled), model.forward_head(tokens))
    model.reset_classifier(3)
    assert (model.num_classes, model.genome.classes) == (3, 3)
    assert model.forward_head(tokens).shape == (2, 3)
    model.reset_classifier(0, "")
    torch.testing.assert_close(model.forward_head(tokens), tokens)
    with pytest.raises(SpecError, match="another `pool`"):
        model.reset_classifier(3, "token")


@pytest.mark.parametrize("name", ["lavit_micro_32", "castling_digits"])
def test_checkpointing_saves_memory_and_changes_no_gradient(name: str) -> None:
    """Scores pass from layer to layer and from stage to stage, DropPath draws the same numbers again."""
    torch.manual_seed(0)
    model = nas.build(nas.load_genome(name).edit({"drop_path": 0.3}))
    image = model.genome.image
    images = torch.randn(4, image.channels, image.size, image.size)

    def step() -> tuple[int, dict[str, Tensor]]:
        model.zero_grad()
        torch.manual_seed(1)
        kept: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = model(images, trace=True)[0].square().sum()
        held = sum(kept.values())
        loss.backward()
        return held, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    plain, expected = step()
    model.set_grad_checkpointing()
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    layers = [layer for stage in model.stages for layer in stage.layers]  # type: ignore[union-attr]
    for layer in layers:
        layer.register_forward_pre_hook(count)
    held, found = step()
    assert calls == 2 * len(layers)
    assert held < plain / 2
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found, expected)


def test_layer_wise_learning_rates() -> None:
    model = nas.build("lavit_micro_32")
    optimizer = timm.optim.create_optimizer_v2(model, opt="adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    assert len(groups) == len(list(model.parameters()))

    def of(name: str) -> dict[str, Any]:
        return groups[id(model.get_parameter(name))]

    names = ["stages.0.embed.proj.weight", "stages.0.layers.0.norm1.weight", "stages.0.layers.2.norm1.weight",
             "stages.1.embed.proj.weight", "stages.1.layers.3.norm1.weight", "head.weight"]  # fmt: skip
    scales = [of(name)["lr_scale"] for name in names]
    assert scales == sorted(scales) and scales[0] < scales[1] < scales[2] < scales[4] <= scales[5] == 1.0
    assert of("stages.0.position")["weight_decay"] == 0.0  # no_weight_decay()
