"""Other resolutions: weights move as timm's do, and what is tied to its number of tokens is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import nas
from nas.errors import GenomeError, SpecError
from tests.timm.pairs import SMALL, SWIN, distance, pictures, pvt, scrambled, vit


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


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "options", "size", "other"),
    [
        ("deit3_small_patch16_224", {"img_size": 64} | SMALL, 64, 96),
        ("vit_small_patch14_dinov2", {"img_size": 56, "num_classes": 7} | SMALL, 56, 84),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 56} | SMALL, 56, 84),
        ("vit_small_patch16_dinov3", {"img_size": 64, "num_classes": 7} | SMALL, 64, 96),
        ("vit_small_patch16_224", {"img_size": 64, "global_pool": "avg"} | SMALL, 64, 48),
    ],
)
def test_a_conversion_to_another_resolution_is_timms(name: str, options: dict[str, Any], size: int, other: int) -> None:
    theirs = scrambled(name, **options)
    ours, moved = nas.from_timm(theirs, size=other), nas.from_timm(theirs)
    assert distance(moved(pictures(size)), theirs(pictures(size))) < 1e-5, "theirs has not been touched"
    moved.set_input_size(other)
    theirs.set_input_size((other, other))
    expected = theirs(pictures(other))
    assert ours.genome.image.size == other
    assert distance(ours(pictures(other)), expected) < 1e-5
    assert distance(moved(pictures(other)), expected) < 1e-5


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::UserWarning:timm.layers.interpolate")
def test_windows_grow_with_the_resolution_as_timms_do() -> None:
    theirs = scrambled("swin_tiny_patch4_window7_224", **SWIN)
    ours = nas.from_timm(theirs, size=256)
    theirs.set_input_size((256, 256))
    assert ours.genome.layout[0].layers[1].core.model_dump() == {"block": "window", "size": 8, "shift": True}
    assert distance(ours(pictures(256)), theirs(pictures(256))) < 1e-5


@torch.no_grad()
def test_a_pyramid_is_converted_at_any_resolution_that_its_strides_divide() -> None:
    theirs, _ = pvt()
    assert distance(nas.from_timm(theirs, size=96)(pictures(96)), theirs(pictures(96))) < 1e-5
    with pytest.raises(SpecError, match=r"pvt_v2_b0: .*ratio 8 does not divide the grid 25x25"):
        nas.from_timm(theirs, size=100)


def test_a_resolution_that_patches_do_not_divide_is_refused_with_the_nearest() -> None:
    with pytest.raises(SpecError, match="patches of 14 do not divide images of 512 pixels; 504 and 518"):
        nas.from_timm(scrambled("vit_small_patch14_dinov2", img_size=56, **SMALL), size=512)


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
