"""Models of timm and torchvision by name, and the files that they refuse."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from nas.errors import SpecError
from nas.timm.outside import outside_model, preprocess_of
from nas.timm.spelling import absolute, is_outside
from tests.timm.pairs import pictures, scrambled

NAME = "test_vit"  # timm's own model for tests: 160 pixels, width 64, 6 layers


@pytest.fixture(scope="module")
def vit() -> nn.Module:
    return scrambled(NAME, num_classes=5)


@pytest.fixture
def weights(tmp_path: Path, vit: nn.Module) -> Path:
    save_file(vit.state_dict(), tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


def same(found: nn.Module, expected: nn.Module, size: int) -> bool:
    images_BCHW = pictures(size)
    with torch.no_grad():
        return not found.training and torch.equal(found(images_BCHW), expected(images_BCHW))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"model": state, "args": argparse.Namespace(lr=0.1), "epoch": 3},
        lambda state: {"state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
        lambda state: {"state_dict": {"stale": torch.zeros(1)}, "state_dict_ema": state},
    ],
    ids=["state dict", "train.py", "DDP", "EMA"],
)
def test_a_timm_model_by_name_and_checkpoint(tmp_path: Path, vit: nn.Module, wrap: Any) -> None:
    torch.save(wrap(vit.state_dict()), tmp_path / "w.pth.tar")
    model = outside_model(f"timm:{NAME}@{tmp_path / 'w.pth.tar'}")
    assert model.num_classes == 5, "that of the checkpoint, not of the name"
    assert same(model, vit, 160)


def test_safetensors_and_preprocessing(weights: Path, vit: nn.Module) -> None:
    model = outside_model(f"timm:{NAME}.r160_in1k@{weights}")
    assert same(model, vit, 160)
    expected = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "interpolation": "bicubic", "crop": 0.95, "size": 160}
    assert preprocess_of(model) == expected | {"channels": 3}


def test_a_folder_of_timm_with_model_args(tmp_path: Path) -> None:
    theirs = scrambled("resnet18", num_classes=3, channels=(4, 4, 8, 8), stem_width=4)
    args = {"channels": (4, 4, 8, 8), "stem_width": 4}
    timm.models.save_for_hf(theirs, tmp_path, model_args=args, safe_serialization=True)
    model = outside_model(f"local-dir:{tmp_path}")
    assert model.num_classes == 3
    assert same(model, theirs, 32)


def test_a_torchvision_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.squeezenet1_1(num_classes=7).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    model = outside_model(f"torchvision:squeezenet1_1@{tmp_path / 'w.pth'}")
    assert model.num_classes == 7
    assert same(model, theirs, 64)
    assert preprocess_of(model) == {
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
        "interpolation": "bilinear",
        "crop": 0.875,
        "size": 224,
        "channels": 3,
    }


def test_a_checkpoint_in_another_projects_names_goes_through_timms_filter(tmp_path: Path) -> None:
    theirs = scrambled(NAME)
    state = {f"visual.trunk.{name}": tensor for name, tensor in theirs.state_dict().items()}  # OpenCLIP's names
    torch.save(state, tmp_path / "w.pth")
    assert same(outside_model(f"timm:{NAME}@{tmp_path / 'w.pth'}"), theirs, 160)
    state["visual.trunk.pos_embed"] = torch.zeros(1, 26, 64)  # of smaller images; the filter would resample it
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(SpecError, match="another model than test_vit"):
        outside_model(f"timm:{NAME}@{tmp_path / 'w.pth'}")


class Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("touched"),))


def damage(path: Path, state: dict[str, torch.Tensor], how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "payload":
        torch.save({"model": state, "run": Payload()}, path)
    elif how == "whole model":
        torch.save(nn.Linear(2, 2), path)
    elif how == "text":
        path.write_text("not a checkpoint")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif how == "cut torch":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:5000])
    elif how == "flipped bit":
        torch.save(state, path)
        blob = bytearray(path.read_bytes())
        blob[blob.find(state["pos_embed"].numpy().tobytes())] ^= 1
        path.write_bytes(blob)
    elif how == "numbers":
        torch.save({"epoch": 3}, path)
    elif how == "list":
        torch.save([1, 2], path)
    elif how == "nan":
        state["norm.bias"][3] = torch.nan
        save_file(state, path)
    elif how == "tensor lost":
        del state["blocks.1.norm1.weight"]
        save_file(state, path)
    elif how == "tensor added":
        save_file(state | {"dist_token": torch.zeros(1)}, path)
    elif how == "other size":
        save_file(state | {"pos_embed": torch.zeros(1, 26, 64)}, path)
    elif how == "integers":
        save_file(state | {"norm.bias": torch.zeros(64, dtype=torch.int8)}, path)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "cannot be read: No such file"),
        ("payload", r"can run code.*save_file"),
        ("whole model", r"can run code.*save_file"),
        ("text", "no checkpoint"),
        ("empty", "no checkpoint"),
        ("cut", "no checkpoint: .*whole safetensors"),
        ("cut torch", "no checkpoint that torch can read"),
        ("flipped bit", "no checkpoint that torch can read: .wrong checksum of"),
        ("numbers", "no weights in it.*found the keys .*epoch"),
        ("list", "no weights in it.*found list"),
        ("nan", "norm.bias has 1 value"),
        ("tensor lost", "another model than test_vit: blocks.1.norm1.weight is missing$"),
        ("tensor added", "another model than test_vit: dist_token has no place in it$"),
        ("other size", r"another model than test_vit: pos_embed: expected \(1, \d+, 64\), found \(1, 26, 64\)$"),
        ("integers", r"norm.bias: expected \(64,\), found \(64,\) of integers"),
    ],
)
def test_a_bad_checkpoint_is_one_message(
    tmp_path: Path, weights: Path, how: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    damage(weights, safetensors.torch.load(weights.read_bytes()), how)  # not mapped: the file is written anew
    with pytest.raises(SpecError, match=message) as caught:
        outside_model(f"timm:{NAME}@{weights}")
    assert str(caught.value).count(str(weights)) == 1
    assert not Path("touched").exists(), "nothing in it was run"


def test_weights_of_another_architecture(weights: Path) -> None:
    with pytest.raises(SpecError, match=r"another model than resnet18: conv1.weight is missing \(and \d+ more\)"):
        outside_model(f"timm:resnet18@{weights}")
    with pytest.raises(SpecError, match=r"another model than resnet18: conv1.weight is missing \(and \d+ more\)"):
        outside_model(f"torchvision:resnet18@{weights}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timm:deit_tiny_patch16_224", "lacks a checkpoint on disk.*nothing is downloaded"),
        ("timm:deit_tini_patch16_224@w.pth", "no model 'deit_tini_patch16_224'; did you mean deit_tiny_patch16_224"),
        ("timm:resnet18.none@w.pth", "no weights 'none' of resnet18; allowed: .*tv_in1k"),
        ("torchvision:resnet81@w.pth", "no classification model 'resnet81'; did you mean resnet18"),
        ("torchvision:fasterrcnn_resnet50_fpn@w.pth", "no classification model"),
        ("torchvision:inception_v3@w.pth", "does not say"),
        ("timm:", "allowed: timm:NAME@FILE"),
        ("hf-hub:timm/resnet18", "allowed: timm:NAME@FILE"),
        ("local-dir:nowhere", r"nowhere.config.json: no such file"),
    ],
)
def test_a_bad_name_is_one_message(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        outside_model(text)


@pytest.mark.parametrize(
    "config",
    ["{", json.dumps([]), json.dumps({"architecture": "nothing"}),
     json.dumps({"architecture": "resnet18", "pretrained_cfg": {}, "model_args": {"wheels": 4}})],
)  # fmt: skip
def test_a_bad_folder_is_one_message(tmp_path: Path, config: str) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(SpecError, match=r"config\.json: describes no model that timm can make"):
        outside_model(f"local-dir:{tmp_path}")


def test_a_mean_of_other_channels_is_one_message() -> None:
    model = timm.create_model(NAME, in_chans=1, pretrained_cfg_overlay={"input_size": (1, 160, 160)})
    with pytest.raises(SpecError, match=r"mean \(0.5, 0.5, 0.5\), std .* for 1 channels; correct its config.json"):
        preprocess_of(model)


def test_a_mean_that_is_no_list_is_one_message() -> None:
    model = timm.create_model(NAME, pretrained_cfg_overlay={"mean": 0.5})
    with pytest.raises(SpecError, match=r"mean 0.5, std .* correct its config.json"):
        preprocess_of(model)


def test_full_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute("timm:resnet18@a@b.pth") == f"timm:resnet18@{tmp_path}/a@b.pth"
    assert absolute("local-dir:folder") == f"local-dir:{tmp_path}/folder"
    assert absolute("timm:resnet18") == "timm:resnet18"
    assert [is_outside(text) for text in ("timm:x", "deit_tiny", "winners/w1.yaml", None)] == [
        True,
        False,
        False,
        False,
    ]
