"""What timm calls on a model: intermediates, heads, checkpointing, other resolutions; against timm's own models."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import timm.optim
import torch
from torch import Tensor, nn

import nas
from nas.errors import GenomeError, SpecError
from tests.timm.test_convert import scrambled


def vit(**options: Any) -> tuple[nn.Module, nas.model.Model]:
    theirs = scrambled("vit_tiny_patch16_224", img_size=64, depth=3, **options)
    return theirs, nas.from_timm(theirs)


def pvt() -> tuple[nn.Module, nas.model.Model]:
    theirs = scrambled("pvt_v2_b0", depths=(1, 1, 1, 2), embed_dims=(16, 32, 40, 64))
    return theirs, nas.from_timm(theirs)


def pictures(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))


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
    found = ours.forward_intermediates(pictures(224), norm=True, intermediates_only=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    kept = ours.prune_intermediate_layers([0, 1])
    torch.testing.assert_close(
        ours.forward_intermediates(pictures(224), kept, intermediates_only=True), expected[:2], rtol=0, atol=1e-5
    )


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


def test_resolution_of_a_plain_vit_moves_as_timms() -> None:
    theirs, ours = vit()
    for model in (theirs, ours):
        model.set_input_size(96)
    assert ours.genome.image.size == 96
    with torch.no_grad():
        torch.testing.assert_close(ours(pictures(96)), theirs(pictures(96)), rtol=0, atol=1e-5)


def test_resolution_of_a_pyramid_moves_in_place() -> None:
    theirs, ours = pvt()
    ours.stages[0].requires_grad_(False)
    ours.set_grad_checkpointing()
    ours.set_input_size((96, 96))
    assert ours.stages[0].grad_checkpointing
    assert not any(p.requires_grad for p in ours.stages[0].parameters())
    assert not ours.stages[1].training
    with torch.no_grad():
        torch.testing.assert_close(ours(pictures(96)), theirs(pictures(96)), rtol=0, atol=1e-5)
    assert ours.feature_info[-1]["reduction"] == 32


def test_relative_biases_are_interpolated() -> None:
    genome = nas.load_genome("lavit_digits").edit(
        {"stages.0.layers": [{"core": {"block": "softmax", "relative": True}}], "image.size": 16, "pool": "token",
         "stages.1.layers": [{"core": {"block": "softmax", "relative": True}}]}
        | {f"stages.{i}.{key}": None for i in (0, 1) for key in ("depth", "split")}
    )  # fmt: skip
    model = nas.build(genome)
    bias = model.stages[1].layers[0].attention.core.bias  # type: ignore[union-attr, index]
    rows = torch.arange(7.0)[:, None].expand(7, 7).flatten()  # offsets along y, on a grid of 4x4
    with torch.no_grad():
        bias.table[:49] = rows[:, None]
        bias.table[49:] = -1.0
    model.set_input_size(32)
    table = model.stages[1].layers[0].attention.core.bias.table  # type: ignore[union-attr, index]
    assert table.shape == (15 * 15 + 3, 4)
    grid = table[:225, 0].unflatten(0, (15, 15))
    assert torch.equal(table[225:], torch.full((3, 4), -1.0))  # the class token's entries stay
    torch.testing.assert_close(grid[[0, 7, 14]], torch.tensor([0.0, 3.0, 6.0])[:, None].expand(3, 15))


@pytest.mark.parametrize("edits", [{}, {"stages.1.tail.transform": "low_rank"}])
def test_what_is_tied_to_its_tokens_is_refused_by_name(edits: dict[str, Any]) -> None:
    genome = nas.load_genome("lavit_digits").edit({"stages.0.tail.transform": "conv"} | edits)
    model = nas.build(genome).eval()
    before = model(torch.ones(1, 1, 8, 8))
    with pytest.raises(
        GenomeError, match=r"stages\.1\.layers\.2: less is tied to 4 tokens by .*psi.*16 pixels have 16"
    ):
        model.set_input_size(16)
    assert model.genome == genome
    torch.testing.assert_close(model(torch.ones(1, 1, 8, 8)), before)


def test_a_resolution_that_does_not_divide_or_comes_too_late_is_refused() -> None:
    with pytest.raises(GenomeError, match=r"stages\.1\.patch: patch 2 does not divide"):
        nas.build("castling_digits").set_input_size(10)
    with pytest.raises(GenomeError, match="then deploy"):
        nas.deploy(nas.build(nas.load_genome("castling_digits").edit({"layer_scale": 0.1}))).set_input_size(16)
    nas.build("castling_digits").set_input_size(16)  # nothing in it is tied to a grid


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
