"""timm.create_model for a preset: arguments, data configuration, checkpoints, features."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import timm
import timm.data
import torch

import nas
from nas.errors import SpecError
from nas.timm import TimmModel


def test_arguments_of_timm_are_edits_of_the_genome() -> None:
    model = timm.create_model(
        "castling_digits", num_classes=5, in_chans=3, img_size=(16, 16), drop_path_rate=0.2, drop_rate=0.3
    )
    assert isinstance(model, TimmModel)
    genome = nas.load_genome("castling_digits")
    edits = {"classes": 5, "image.channels": 3, "image.size": 16, "drop_path": 0.2}
    assert model.genome == genome.edit(edits)
    assert model.head_drop.p == 0.3
    assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 5)
    assert timm.create_model("castling_digits", num_classes=0)(torch.zeros(2, 1, 8, 8)).shape == (2, 64)
    with pytest.raises(SpecError, match="square"):
        timm.create_model("castling_digits", img_size=(16, 8))


def test_data_configuration_is_the_genomes() -> None:
    config = timm.data.resolve_model_data_config(timm.create_model("lavit_digits"))
    assert config["input_size"] == (1, 8, 8)
    assert timm.get_pretrained_cfg("levit_like").first_conv == "stages.0.embed.proj.0.conv"


def test_pretrained_needs_a_checkpoint_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="lavit_digits comes without pretrained weights"):
        timm.create_model("lavit_digits", pretrained=True)
    trained = nas.build("lavit_digits")
    safetensors.torch.save_file(trained.state_dict(), tmp_path / "w.safetensors")
    overlay = {"file": str(tmp_path / "w.safetensors")}
    loaded = timm.create_model("lavit_digits", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=3)
    assert loaded.head.out_features == 3
    torch.testing.assert_close(loaded.stages[0].position, trained.stages[0].position)


def test_features_of_a_pyramid_are_its_stages() -> None:
    with torch.device("meta"):
        images = torch.empty(2, 3, 224, 224)
        backbone = timm.create_model("lavit_t", features_only=True)
        maps = backbone(images)
        assert backbone.feature_info.channels() == [64, 128, 320, 512]
        assert backbone.feature_info.reduction() == [4, 8, 16, 32]
        assert [m.shape for m in maps] == [(2, 64, 56, 56), (2, 128, 28, 28), (2, 320, 14, 14), (2, 512, 7, 7)]
        early = timm.create_model("lavit_t", features_only=True, out_indices=(0, 1))
        assert [m.shape[1] for m in early(images)] == [64, 128]
        assert len(early.model.stages) == 2  # what is not needed is not kept


def test_features_of_a_plain_vit_are_its_layers() -> None:
    with torch.device("meta"):
        backbone = timm.create_model("deit_tiny", features_only=True, out_indices=(2, 5))
        maps = backbone(torch.empty(1, 3, 224, 224))
    assert [m.shape for m in maps] == [(1, 192, 14, 14)] * 2
    assert backbone.feature_info.reduction() == [16, 16]
    assert len(backbone.model.stages[0].layers) == 6
