"""Pooling: each token is replaced by the mean of its neighbourhood, less itself (PoolFormer).

    y = AvgPool_{k×k}(x) − x        over the grid, stride 1, borders averaged over the pixels that exist

Source: Yu et al., "MetaFormer Is Actually What You Need for Vision", CVPR 2022. The subtraction undoes the identity
that the layer's residual adds. No parameters, no projections in or out, no matrix product: cost by formula is 0.

Deviations: the paper normalises with GroupNorm(1) over channels and positions, our layers with LayerNorm per token.
Prefix tokens have no neighbours on the grid: they get zero, so that the residual passes them on. No scores are made;
those of an earlier layer stay within reach of a later `less`.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, OddKernel, Site, block
from nas.blocks.grid import to_grid, to_tokens


@block("pooling")
class Pooling(Core):
    projects_out = False

    class Config(BlockConfig):
        block: Literal["pooling"] = "pooling"
        kernel: OddKernel = Field(3, ge=3, le=31, description="odd")

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.kernel, self.grid, self.prefix = config.kernel, site.grid, site.prefix
        self.shape = (site.heads, site.head_dim)

    def forward(self, inputs: Inputs) -> tuple[Tensor, None]:
        x_BChw = to_grid(inputs.x_BNC, self.grid, self.prefix)
        pooled_BChw = F.avg_pool2d(x_BChw, self.kernel, 1, self.kernel // 2, count_include_pad=False)
        y_BNC = to_tokens(pooled_BChw - x_BChw)
        if self.prefix:
            y_BNC = F.pad(y_BNC, (0, 0, self.prefix, 0))
        return y_BNC.unflatten(2, self.shape), None

    @classmethod
    def projects(cls, config: Config, site: Site) -> str:
        return ""

    @classmethod
    def outgoing(cls, config: Config, site: Site) -> None:
        return None

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        return Cost(0, 0)
