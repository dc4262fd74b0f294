"""Models from timm: the same logits with any weights, the same genome as the preset, and refusals that say why."""

from __future__ import annotations

import pytest
import timm
import torch

import nas
from nas.errors import SpecError
from tests.timm.pairs import scrambled


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deit_tiny_patch16_224", {}),
        ("pvt_v2_b0", {}),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2, "init_values": 0.5, "num_classes": 7}),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2, "qkv_bias": False, "in_chans": 1}),
        (
            "vit_tiny_patch16_224",
            {"img_size": 64, "depth": 2, "class_token": False, "global_pool": "avg", "fc_norm": False},
        ),
        ("pvt_v2_b1", {"depths": (1, 1, 2, 1), "embed_dims": (16, 32, 40, 64), "qkv_bias": False}),
    ],
)
def test_the_logits_are_timms(name: str, options: dict[str, object]) -> None:
    theirs = scrambled(name, **options)
    ours = nas.from_timm(theirs)
    image = ours.genome.image
    images = torch.randn(2, image.channels, image.size, image.size)
    with torch.no_grad():
        expected = theirs(images)
        torch.testing.assert_close(ours(images), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1  # of logits that say something
    assert not ours.training
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(("theirs", "preset"), [("deit_tiny_patch16_224", "deit_tiny"), ("pvt_v2_b0", "pvt_v2_b0")])
def test_the_genome_is_the_presets(theirs: str, preset: str) -> None:
    with torch.device("meta"):
        model = nas.from_timm(timm.create_model(theirs, drop_path_rate=0.1).train())
    assert model.genome.hash == nas.load_genome(preset).hash
    assert model.genome.name == theirs
    assert model.training


@pytest.mark.parametrize("name", ["pvt_v2_b2", "vit_small_patch32_224", "vit_base_patch16_384"])
def test_the_family_is_taken(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name)
        params = sum(p.numel() for p in theirs.parameters())
        assert nas.cost(nas.from_timm(theirs).genome).params == params


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "resnet18: no counterpart here; plain ViTs"),
        ("pvt_v2_b2_li", "linear variant"),
        ("deit_tiny_distilled_patch16_224", "dist_token has no place"),
        ("vit_small_patch16_18x2_224", "layers are ParallelThingsBlock"),
        ("deit3_small_patch16_224", r"stages\.0\.position"),
        ("vit_little_patch16_reg4_gap_256", "'avg' without|reg_token|fc_norm"),
        ("vit_small_patch14_dinov2", "num_classes above 0"),
    ],
)
def test_what_has_no_counterpart_is_refused(name: str, message: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
        with pytest.raises(SpecError, match=message):
            nas.from_timm(model)


def test_what_has_no_weights_is_found_by_the_logits() -> None:
    model = scrambled("vit_tiny_patch16_224", img_size=32, depth=1, act_layer="quick_gelu")
    with pytest.raises(SpecError, match="computes something else"):
        nas.from_timm(model)
