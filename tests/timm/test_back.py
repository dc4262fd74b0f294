"""nas.to_timm: timm's class, names, logits and folders; what timm does not have is refused by its path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import nas
from nas.errors import SpecError
from nas.model import build as build_plain
from tests.timm.pairs import SMALL, SWIN, distance, pictures, scrambled

PVT = {"depths": (1, 1, 1, 2), "embed_dims": (16, 32, 40, 64)}

GENERIC = ("pvt_v2_b0", "swin_tiny_patch4_window7_224", "vit_giant_patch14_dinov2", "vit_base_patch16_clip_224")


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:timm does not save rope.periods")  # scrambled ones
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64, "qk_norm": True, "drop_rate": 0.1, "drop_path_rate": 0.2} | SMALL),
        ("deit3_small_patch16_224", {"img_size": 64} | SMALL),
        ("vit_small_patch14_dinov2", {"img_size": 56} | SMALL),
        ("vit_small_patch14_reg4_dinov2", {"img_size": 56, "num_classes": 7} | SMALL),
        ("vit_small_patch16_dinov3", {"img_size": 64, "num_classes": 7, "global_pool": "token"} | SMALL),
        ("vit_small_patch16_224", {"img_size": 64, "global_pool": "avg"} | SMALL),
        ("vit_medium_patch16_gap_240", {"img_size": 64} | SMALL),
        ("vit_giant_patch14_dinov2", {"img_size": 56, "num_classes": 7} | SMALL),
        ("vit_base_patch16_clip_224", {"img_size": 64, "num_classes": 7} | SMALL),
        ("pvt_v2_b0", PVT),
        ("pvt_v2_b2_li", PVT),
        ("swin_tiny_patch4_window7_224", SWIN),
    ],
)
def test_the_way_back(name: str, options: dict[str, Any], named: bool) -> None:
    theirs = scrambled(name, **options)
    ours = nas.from_timm(theirs)
    if not named:  # as a winner is, which has a name of its own
        ours.genome = ours.genome.edit({"name": "w1-0007"})
    back = nas.to_timm(ours)
    images = pictures(ours.genome.image.size)
    assert type(back) is type(theirs)
    assert distance(back(images), theirs(images)) < 1e-5
    assert list(back.state_dict()) == list(theirs.state_dict())
    assert (back.pretrained_cfg["architecture"] == name) == (named or name in GENERIC)
    again = nas.from_timm(back)
    assert again.genome.hash == ours.genome.hash
    assert again.head_drop.p == ours.head_drop.p == options.get("drop_rate", 0.0)


@torch.no_grad()
def test_a_bias_of_keys_returns_as_a_weight_that_timm_saves() -> None:
    theirs = scrambled("vit_small_plus_patch16_dinov3_qkvb", img_size=64, num_classes=7, **SMALL)
    with pytest.warns(UserWarning, match="timm does not save rope.periods"):
        back = nas.to_timm(nas.from_timm(theirs))
    assert distance(back(pictures(64)), theirs(pictures(64))) < 1e-5
    assert "blocks.0.attn.qkv.bias" in back.state_dict()


@torch.no_grad()
def test_timm_saves_it_and_both_load_it(tmp_path: Path) -> None:
    pixels = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7], "crop": 0.9, "interpolation": "bicubic"}
    tuned = nas.from_timm(scrambled("vit_small_patch14_reg4_dinov2", img_size=56, num_classes=3, **SMALL))
    tuned.genome = tuned.genome.edit({"name": "mine", "preprocess": pixels, "class_names": ["a", "b", "c"]})
    timm.models.save_for_hf(nas.to_timm(tuned), tmp_path, safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert distance(loaded(pictures(56)), tuned(pictures(56))) < 1e-5
    assert timm.data.resolve_model_data_config(loaded)["mean"] == [0.1, 0.2, 0.3]
    assert loaded.pretrained_cfg["label_names"] == ["a", "b", "c"]
    found = nas.inherit(tuned.genome, f"local-dir:{tmp_path}")
    assert found.fresh == ()
    assert distance(found.model.eval()(pictures(56)), tuned(pictures(56))) < 1e-5


def test_any_of_our_models_goes_back_with_its_mode_and_type() -> None:
    model = build_plain("deit_micro_32").double()
    back = nas.to_timm(model)
    assert back.training and back.head.weight.dtype == torch.float64
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(back.eval()(images), model.eval()(images))


@pytest.mark.parametrize(
    ("genome", "edits", "message"),
    [
        ("deit_micro_32", {"stages.0.tail": "less", "stages.0.split": 1}, r"stages\.0\.layers\.1\.core: less"),
        ("deit_micro_32", {"stages.0.core": "linear_angular"}, r"stages\.0\.layers\.0\.core: linear_angular"),
        ("deit_micro_32", {"stages.0.local": "depthwise"}, r"stages\.0\.layers\.0\.local: depthwise"),
        ("deit_micro_32", {"norm_eps": 1e-3}, "norm_eps: 0.001"),
        ("deit_micro_32", {"stem": "conv"}, "stem: conv"),
        ("deit_micro_32", {"embed_norm": True}, "embed_norm: True"),
        ("pvt_v2_b0", {"stages.0.kernel": 5}, r"stages\.0\.kernel: 5"),
        ("lavit_digits", {}, "position: absolute"),
    ],
)
def test_what_timm_does_not_have_is_refused_by_its_path(genome: str, edits: dict[str, Any], message: str) -> None:
    with torch.device("meta"):
        model = nas.build(nas.load_genome(genome).edit(edits))
        with pytest.raises(SpecError, match=f"{message} has no counterpart in timm"):
            nas.to_timm(model)


def test_a_deployed_model_without_its_scales_is_refused() -> None:
    model = nas.from_timm(scrambled("deit3_small_patch16_224", img_size=32, **SMALL))
    with pytest.raises(SpecError, match=r"blocks\.0\.ls1\.gamma: a deployed or pruned model"):
        nas.to_timm(nas.deploy(model))
