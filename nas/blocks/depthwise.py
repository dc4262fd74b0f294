"""The depthwise-convolution residual on the values: y = DWConv(v), added after the core is normalised.

Source: Castling-ViT (CVPR 2023). Released form (`dimensions: 1`, default): one 9-tap filter per head along the
flattened token order, shared by the head's D channels, no bias; it runs over row ends, and over prefix tokens as over
any other.
`dimensions: 2`: one k×k filter per channel over the token grid; prefix tokens have no place there and get zero.

Both run as a channels-last convolution over (B, N, C) memory, behind one copy of the values, which come as a slice of
the qkv projection (convolutions on such a slice are several times slower than the copy). The 1-D form is a 1×9 filter
over (B, C, 1, N) with each head's filter repeated: a 9×1 filter over (B, C, N, 1) is the same and takes a slow path.
Under torch.compile the 1-D form is a sum of shifted slices instead: inductor fuses it with the norm before and the sum
after it, where a convolution would stand alone and, on the CPU, answer in an order that has to be transposed back.
MACs N·C·k and N·C·k²; weights H·k and C·k².

In a trained layer that had no such residual it starts at zero and adds nothing; its gradient is that of the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nas.blocks.base import BlockConfig, Cost, Local, OddKernel, Rows, Site, block
from nas.blocks.grid import to_grid, to_tokens


@block("depthwise")
class Depthwise(Local):
    class Config(BlockConfig):
        block: Literal["depthwise"] = "depthwise"
        dimensions: Literal[1, 2] = Field(1, description="1: along the order of tokens; 2: over the grid")
        kernel: OddKernel | None = Field(None, ge=1, le=31, description="odd; default 9 taps in 1-D, 3×3 in 2-D")

        @property
        def size(self) -> int:
            return self.kernel or (9 if self.dimensions == 1 else 3)

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.dimensions, self.grid, self.prefix = config.dimensions, site.grid, site.prefix
        self.shape = (site.heads, site.head_dim)
        filters = (
            (site.heads, 1, config.size, 1) if config.dimensions == 1 else (site.width, 1, config.size, config.size)
        )
        self.weight = nn.Parameter(torch.empty(filters))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # what nn.Conv2d does

    def forward(self, v_BNHD: Tensor) -> Tensor:
        if self.dimensions == 1 and torch.compiler.is_dynamo_compiling():
            return self._shifted(v_BNHD)
        v_BNC = v_BNHD.flatten(2).contiguous()
        half = self.weight.shape[2] // 2
        if self.dimensions == 1:
            v_BC1N = v_BNC.transpose(1, 2).unsqueeze(2)
            filters = self.weight.transpose(2, 3).repeat_interleave(self.shape[1], 0)
            y_BC1N = F.conv2d(v_BC1N, filters, padding=(0, half), groups=self.shape[0] * self.shape[1])
            y_BNHD: Tensor = y_BC1N.squeeze(2).transpose(1, 2).unflatten(2, self.shape)
            return y_BNHD
        v_BChw = to_grid(v_BNC, self.grid, self.prefix)
        y_BChw = F.conv2d(v_BChw, self.weight, padding=half, groups=self.shape[0] * self.shape[1])
        y_BNC = F.pad(to_tokens(y_BChw), (0, 0, self.prefix, 0))
        merged_BNHD: Tensor = y_BNC.unflatten(2, self.shape)
        return merged_BNHD

    def take_over(self, rows: Mapping[str, Rows]) -> set[str]:
        nn.init.zeros_(self.weight)
        return set()

    def _shifted(self, v_BNHD: Tensor) -> Tensor:
        b, n, h, d = v_BNHD.shape
        edge_BhHD = v_BNHD.new_zeros(b, self.weight.shape[2] // 2, h, d)
        padded_BNHD = torch.cat((edge_BhHD, v_BNHD, edge_BhHD), 1)
        y_BNHD = torch.zeros_like(v_BNHD)
        for tap in range(self.weight.shape[2]):
            y_BNHD = y_BNHD + padded_BNHD[:, tap : tap + n] * self.weight[:, 0, tap]
        return y_BNHD

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        if config.dimensions == 1:
            return Cost(site.tokens * site.width * config.size, site.heads * config.size)
        return Cost((site.tokens - site.prefix) * site.width * config.size**2, site.width * config.size**2)
