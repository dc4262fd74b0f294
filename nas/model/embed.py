"""Patch embedding: an image or feature map (B, C', H', W') to tokens (B, N, C) in (B, N, C) memory.

One convolution: with kernel = stride it cuts patches (ViT, PVT, LaViT), a larger kernel overlaps (PVTv2). With
`stem: conv` the first stage has instead log₂(stride) 3×3 convolutions of stride 2 with batch norm and hard-swish
(LeViT; "Early convolutions help transformers see better", Xiao et al., NeurIPS 2021), whose widths double up to C.
Deployment folds the batch norms into the convolutions.

With `merging: normed` the later stages have instead W·LayerNorm(patch) without a bias, the patch's pixels side by side
(patch merging; Swin, Liu et al., ICCV 2021).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from nas.genome.layout import StagePlan


class Embed(nn.Module):
    def __init__(self, plan: StagePlan, conv_stem: bool, norm: bool, bias: bool):
        super().__init__()
        self.proj: nn.Module
        if conv_stem:
            widths = stem_widths(plan)
            layers = [ConvNorm(a, b) for a, b in pairwise(widths)]
            self.proj = nn.Sequential(*(part for layer in layers for part in (layer, nn.Hardswish())))[:-1]
        else:
            self.proj = nn.Conv2d(plan.channels, plan.width, plan.kernel, plan.stride, plan.padding, bias=bias)
        self.norm = nn.LayerNorm(plan.width) if norm else nn.Identity()

    def forward(self, x_BChw: Tensor) -> Tensor:
        x_BNC: Tensor = self.norm(self.proj(x_BChw).flatten(2).transpose(1, 2).contiguous())
        return x_BNC


class Merge(nn.Module):
    """Patch merging: the p·p pixels of a patch as one vector of p²·C' channels, normed and projected."""

    def __init__(self, plan: StagePlan):
        super().__init__()
        self.stride, channels = plan.stride, plan.stride**2 * plan.channels
        self.norm = nn.LayerNorm(channels)
        self.reduction = nn.Linear(channels, plan.width, bias=False)

    def forward(self, x_BChw: Tensor) -> Tensor:
        p = self.stride
        x_BhwC = x_BChw.permute(0, 2, 3, 1)
        patch_BhwE = x_BhwC.unflatten(2, (-1, p)).unflatten(1, (-1, p)).permute(0, 1, 3, 4, 2, 5).flatten(3)
        x_BNC: Tensor = self.reduction(self.norm(patch_BhwE)).flatten(1, 2)
        return x_BNC


class ConvNorm(nn.Module):
    """A 3×3 convolution of stride 2 with batch norm; `fuse` folds the norm into the convolution."""

    def __init__(self, before: int, after: int):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, 2, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(after)

    def forward(self, x_BChw: Tensor) -> Tensor:
        y_BChw: Tensor = self.norm(self.conv(x_BChw))
        return y_BChw

    @property
    def fused(self) -> bool:
        return isinstance(self.norm, nn.Identity)

    def fuse(self) -> None:
        if isinstance(self.norm, nn.BatchNorm2d):
            self.conv, self.norm = fuse_conv_bn_eval(self.conv, self.norm), nn.Identity()


def stem_widths(plan: StagePlan) -> list[int]:
    """Channels from the image to the stage's width: one entry more than convolutions."""
    count = plan.stride.bit_length() - 1
    return [plan.channels, *(plan.width >> i for i in reversed(range(count)))]
