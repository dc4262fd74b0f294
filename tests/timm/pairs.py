"""Small timm models with arbitrary weights, and ours that were made of them."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn

import nas
from nas.timm import TimmModel


def scrambled(name: str, **options: object) -> nn.Module:
    """A timm model in which no weight is at its initial value: zeros and ones would hide a swapped name."""
    torch.manual_seed(0)
    model = timm.create_model(name, **options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def vit(**options: Any) -> tuple[nn.Module, TimmModel]:
    theirs = scrambled("vit_tiny_patch16_224", img_size=64, depth=3, **options)
    return theirs, nas.from_timm(theirs)


def pvt() -> tuple[nn.Module, TimmModel]:
    theirs = scrambled("pvt_v2_b0", depths=(1, 1, 1, 2), embed_dims=(16, 32, 40, 64))
    return theirs, nas.from_timm(theirs)


def pictures(size: int) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
