"""Small timm models with arbitrary weights, and ours that were made of them."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

import nas
from nas.timm import TimmModel


def scrambled(name: str, **options: object) -> nn.Module:
    """A timm model in which no weight is at its initial value: zeros and ones would hide a swapped name.

    Vectors (scales of layers, norms, biases, tokens, periods) are drawn at a scale at which each of them is seen.
    """
    torch.manual_seed(0)
    model = timm.create_model(name, **options).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(torch.randn_like(tensor) * (0.05 if tensor.ndim > 1 else 0.3))
        for buffer_name, tensor in model.named_buffers():
            if buffer_name.endswith(("k_bias", "periods")):
                tensor.add_(torch.rand_like(tensor))
    return model


def distance(found: Tensor, expected: Tensor) -> float:
    """The largest difference, as a share of the largest logit."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.abs().max())


def vit(**options: Any) -> tuple[nn.Module, TimmModel]:
    theirs = scrambled("vit_tiny_patch16_224", img_size=64, depth=3, **options)
    return theirs, nas.from_timm(theirs)


def pvt() -> tuple[nn.Module, TimmModel]:
    theirs = scrambled("pvt_v2_b0", depths=(1, 1, 1, 2), embed_dims=(16, 32, 40, 64))
    return theirs, nas.from_timm(theirs)


SMALL: dict[str, Any] = {"depth": 2, "embed_dim": 48, "num_heads": 3}  # of any plain ViT

SWIN: dict[str, Any] = {"embed_dim": 16, "depths": (2, 2, 2, 1), "num_heads": (1, 2, 2, 4)}


def pictures(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
