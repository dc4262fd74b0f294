"""torch.fx: torchvision's and timm's feature extractors take our models apart into graphs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from timm.models import FeatureGraphNet
from torchvision.models.feature_extraction import create_feature_extractor

import nas
from nas.blocks import registered

ONE = {"image": {"size": 8}, "classes": 4, "stages": [{"patch": 2, "width": 16, "heads": 2, "depth": 1}]}
KEYS = {"rotary": {}, "qk_norm": True, "registers": 2, "pool": "patches", "layer_scale": 0.1, "drop_path": 0.1}
UNTRACED = {"relu_linear", "focused_linear"}  # they leave autocast where they run, which a graph cannot hold
pytestmark = pytest.mark.filterwarnings("ignore:.*obtained by tracing the model")


def agrees(genome: Any) -> bool:
    model = nas.build(genome).eval()
    image = model.genome.image
    images = torch.randn(2, image.channels, image.size, image.size)
    extracted = create_feature_extractor(model, ["stages.0.layers.0", "head"])(images)
    first = model.forward_intermediates(images, intermediates_only=True, output_fmt="NLC") if model.by_layer else None
    same = torch.allclose(extracted["head"], model(images), atol=1e-6)
    if first:
        same &= torch.allclose(extracted["stages.0.layers.0"][:, model.stages[0].prefix :], first[0], atol=1e-6)
    return same


@pytest.mark.parametrize("name", ["lavit_digits", "castling_digits", "pvt_micro_32", "deit_micro_32"])
def test_presets(name: str) -> None:
    assert agrees(nas.load_genome(name))


def test_keys_of_plain_vits() -> None:
    assert agrees(ONE | KEYS)


@pytest.mark.parametrize("name", sorted(registered("core")))
def test_cores(name: str) -> None:
    genome = nas.load_genome(ONE).edit({"stages.0.depth": None, "stages.0.layers": ["softmax", name]})
    if name in UNTRACED:
        with pytest.raises(torch.fx.proxy.TraceError):
            agrees(genome)
    else:
        assert agrees(genome)


def test_timms_graph_of_features_has_the_stages() -> None:
    model = nas.build("pvt_micro_32").eval()
    images = torch.randn(1, 3, 32, 32)
    found = FeatureGraphNet(model, (0, 1))(images)
    expected = model.forward_intermediates(images, [0, 1], output_fmt="NLC", intermediates_only=True)
    torch.testing.assert_close(found, expected)
