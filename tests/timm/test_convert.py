"""Models from timm: the same logits with any weights, the same genome as the preset, and refusals that say why."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import nas
from nas.errors import SpecError
from nas.timm.donor import read_donor
from tests.profiling.test_cost import counted
from tests.timm.pairs import SMALL, SWIN, distance, pictures, scrambled


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("deit_tiny_patch16_224", {}),
        ("pvt_v2_b0", {}),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2, "init_values": 0.5, "num_classes": 7}),
        ("vit_tiny_patch16_224", {"img_size": 64, "depth": 2, "qkv_bias": False, "in_chans": 1}),
        ("vit_medium_patch16_gap_240", {"img_size": 64} | SMALL),
        ("pvt_v2_b1", {"depths": (1, 1, 2, 1), "embed_dims": (16, 32, 40, 64), "qkv_bias": False}),
        ("pvt_v2_b2_li", {"depths": (1, 1, 1, 2), "embed_dims": (16, 32, 40, 64)}),
        ("swin_tiny_patch4_window7_224", SWIN),
        ("swin_tiny_patch4_window7_224", SWIN | {"img_size": 64, "window_size": 4, "qkv_bias": False}),
        ("deit3_small_patch16_224", {"img_size": 64} | SMALL),
        ("vit_small_patch14_dinov2", {"img_size": 56, "num_classes": 7} | SMALL),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 56, "num_classes": 7} | SMALL),
        ("vit_small_patch16_dinov3", {"img_size": 64, "num_classes": 7} | SMALL),
        ("vit_small_patch16_dinov3", {"img_size": 64, "num_classes": 7, "global_pool": "token"} | SMALL),
        ("vit_small_patch16_224", {"img_size": 64, "global_pool": "avg"} | SMALL),
        ("vit_little_patch16_reg4_gap_256", {"img_size": 64} | SMALL),
        ("vit_giant_patch14_dinov2", {"img_size": 56, "num_classes": 7} | SMALL),
        ("vit_base_patch16_clip_224", {"img_size": 64, "num_classes": 7} | SMALL),
        ("vit_tiny_patch16_224", {"img_size": 64, "qk_norm": True} | SMALL),
        ("vit_tiny_patch16_224", {"img_size": 64, "reg_tokens": 2, "global_pool": "avg", "fc_norm": False} | SMALL),
        ("eva_giant_patch14_224", {"img_size": 56, "qkv_bias": False, "mlp_ratio": 2.7} | SMALL),
    ],
)
def test_the_logits_are_timms(name: str, options: dict[str, Any]) -> None:
    theirs = scrambled(name, **options)
    ours = nas.from_timm(theirs)
    image = ours.genome.image
    images = torch.randn(2, image.channels, image.size, image.size)
    with torch.no_grad():
        expected = theirs(images)
        assert distance(ours(images), expected) < 1e-5
    assert expected.std() > 0.1  # of logits that say something
    assert not ours.training
    params = sum(p.numel() for p in theirs.parameters())
    assert sum(p.numel() for p in ours.parameters()) == params
    cost = nas.cost(ours.genome)
    assert (cost.macs, cost.params) == counted(ours.genome)


@torch.no_grad()
@pytest.mark.parametrize("name", ["vit_small_plus_patch16_dinov3_qkvb", "eva_giant_patch14_224"])
def test_a_bias_of_keys_that_timm_keeps_as_a_buffer_is_a_parameter_here(name: str) -> None:
    theirs = scrambled(name, img_size=16 * 3 if "16" in name else 14 * 3, num_classes=7, **SMALL)
    ours = nas.from_timm(theirs)
    assert distance(ours(pictures(ours.genome.image.size)), theirs(pictures(ours.genome.image.size))) < 1e-5
    bias_3C = ours.state_dict()["stages.0.layers.0.attention.qkv.bias"]
    torch.testing.assert_close(bias_3C[48:96], dict(theirs.named_buffers())["blocks.0.attn.k_bias"])


@torch.no_grad()
def test_a_model_without_a_classifier_answers_with_what_the_classifier_would_read() -> None:
    theirs = scrambled("vit_small_patch14_dinov2", img_size=56, **SMALL)
    ours = nas.from_timm(theirs)
    assert distance(ours(pictures(56)), theirs(pictures(56))) < 1e-5
    assert ours.num_classes == 0 and "head.weight" not in ours.state_dict()
    tokens = scrambled("vit_tiny_patch16_224", img_size=32, global_pool="", num_classes=0, **SMALL)
    assert distance(nas.from_timm(tokens)(pictures(32)), tokens(pictures(32))) < 1e-5


def test_a_start_without_a_classifier_gets_a_new_head(tmp_path: Path) -> None:
    theirs = scrambled("vit_small_patch14_dinov2", img_size=56, **SMALL)
    timm.models.save_for_hf(theirs, tmp_path, safe_serialization=True)
    donor = read_donor(f"local-dir:{tmp_path}")
    kept, head = donor.for_classes(("cat", "dog"))
    found = nas.inherit(donor.genome.edit({"classes": 2}), kept)
    assert head == "the head is new, since the classes are others"
    assert found.fresh == ("head.weight", "head.bias")


@torch.no_grad()
def test_half_precision_keeps_the_periods() -> None:
    ours = nas.from_timm(scrambled("vit_small_patch16_dinov3", img_size=64, num_classes=7, **SMALL))
    expected = ours(pictures(64))
    half = copy.deepcopy(ours).bfloat16()
    assert half.stages[0].rotary.periods.dtype == torch.float32
    assert half(pictures(64).bfloat16()).dtype == torch.bfloat16
    assert distance(half(pictures(64).bfloat16()).float(), expected) < 0.05


@pytest.mark.parametrize(("theirs", "preset"), [("deit_tiny_patch16_224", "deit_tiny"), ("pvt_v2_b0", "pvt_v2_b0")])
def test_the_genome_is_the_presets(theirs: str, preset: str) -> None:
    with torch.device("meta"):
        model = nas.from_timm(timm.create_model(theirs, drop_path_rate=0.1).train())
    assert model.genome.hash == nas.load_genome(preset).hash
    assert model.genome.name == theirs
    assert model.training


@pytest.mark.parametrize(
    "name", ["pvt_v2_b2", "vit_small_patch32_224", "vit_base_patch16_384", "deit3_small_patch16_224",
             "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3",
             "swin_tiny_patch4_window7_224"]
)  # fmt: skip
def test_the_family_is_taken(name: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(name)
        params = sum(p.numel() for p in theirs.parameters())
        assert sum(p.numel() for p in nas.from_timm(theirs).parameters()) == params


def test_rates_of_dropout_are_carried_or_refused() -> None:
    with torch.device("meta"):
        ours = nas.from_timm(timm.create_model("vit_tiny_patch16_224", drop_rate=0.3, drop_path_rate=0.2))
        assert (ours.head_drop.p, ours.genome.drop_path) == (0.3, 0.2)
        assert nas.from_timm(timm.create_model("pvt_v2_b0", drop_rate=0.3, drop_path_rate=0.2)).genome.drop_path == 0.2
        for rate, name in [("pos_drop_rate", "pos_drop"), ("attn_drop_rate", r"blocks\.0\.attn\.attn_drop"),
                           ("proj_drop_rate", "proj_drop"), ("patch_drop_rate", "patch_drop")]:  # fmt: skip
            with pytest.raises(SpecError, match=rf"its dropout .*{name} \(rate 0.1\) has no counterpart"):
                nas.from_timm(timm.create_model("vit_tiny_patch16_224", depth=2, **{rate: 0.1}))
        uneven = timm.create_model("vit_tiny_patch16_224", drop_path_rate=0.2)
        uneven.blocks[3].drop_path1.drop_prob = 0.9
        with pytest.raises(SpecError, match="stochastic depth"):
            nas.from_timm(uneven)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {}, "resnet18: no counterpart here; ViT, DeiT"),
        ("deit_tiny_distilled_patch16_224", {}, "its distillation token"),
        ("vit_small_patch16_18x2_224", {}, r"its kind of layer \(ParallelThingsBlock\)"),
        ("vit_small_r26_s32_224", {}, r"its patch embedding \(HybridEmbed\)"),
        ("vit_base_patch16_siglip_224", {}, "its pooling 'map'"),
        ("vit_base_patch16_clip_quickgelu_224", {}, "its activation QuickGELU"),
        ("eva02_tiny_patch14_224", {}, r"its kind of rotary positions \(RotaryEmbeddingCat\)"),
        ("swinv2_tiny_window8_256", {}, "no counterpart here; ViT, DeiT"),
        ("swin_tiny_patch4_window7_224", {"head_dim": 16}, "a head dimension of its own"),
        ("swin_tiny_patch4_window7_224", {"window_size": (7, 14)}, "its window of 7×14"),
        ("swin_tiny_patch4_window7_224", {"img_size": 256}, "windows of 7 do not fit the grid 64x64"),
        ("vit_tiny_patch16_224", {"img_size": (64, 32)}, "images are square here, and its are 64×32"),
        ("vit_tiny_patch16_224", {"img_size": 70}, "patches of 16 do not divide images of 70 pixels; 64 and 80"),
        ("vit_tiny_patch16_224", {"final_norm": False}, "a last norm neither before nor behind"),
        ("vit_tiny_patch16_224", {"scale_attn_norm": True}, "the norm of what its attention answers"),
        ("vit_tiny_patch16_224", {"scale_mlp_norm": True}, "the norm in its MLP"),
        ("vit_tiny_patch16_224", {"proj_bias": False}, "a projection without a bias"),
        ("vit_tiny_patch16_224", {"norm_layer": "rmsnorm"}, r"its norm1 \(RmsNorm\)"),
        ("vit_tiny_patch16_224", {"global_pool": "avg", "pool_include_prefix": True}, "over class token and registers"),
        ("vit_small_patch16_dinov3", {"rope_shift_coords": 0.1}, "augmentation of its rotary positions"),
        ("vit_small_patch16_dinov3", {"attn_only_layer_scale": True}, "a layer scale of attention alone"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_its_name(name: str, options: dict[str, Any], message: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name, **options)
        with pytest.raises(SpecError, match=message) as caught:
            nas.from_timm(model)
    assert str(caught.value).startswith(name)


def test_what_has_no_weights_is_found_by_the_logits() -> None:
    model = scrambled("vit_tiny_patch16_224", img_size=32, depth=1)
    model.blocks[0].attn.scale = 0.5
    model.blocks[0].attn.fused_attn = False
    with pytest.raises(SpecError, match="computes something else"):
        nas.from_timm(model)
