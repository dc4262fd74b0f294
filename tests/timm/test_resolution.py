"""Other resolutions: weights move as timm's do, and what is tied to its number of tokens is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import nas
from nas.errors import GenomeError
from tests.timm.pairs import pictures, pvt, vit


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
