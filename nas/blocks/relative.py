"""Relative position bias: one learned number per head and grid offset (Δy, Δx), added to attention scores.

Source: Swin (Liu et al., ICCV 2021), table of (2h−1)(2w−1) offsets; each prefix token gets three entries of its own (to
the grid, from the grid, among prefix tokens), as in timm's and BEiT's tables.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RelativeBias(nn.Module):
    """`bias()` is (H, N, N). `index` is recomputed from the grid, so it is not part of the weights."""

    index: Tensor

    def __init__(self, grid: tuple[int, int], heads: int, prefix: int = 0):
        super().__init__()
        self.table = nn.Parameter(torch.empty(self.entries(grid, prefix), heads))
        nn.init.trunc_normal_(self.table, std=0.02)
        self.register_buffer("index", _index(grid, prefix), persistent=False)

    def forward(self) -> Tensor:
        return self.table[self.index].permute(2, 0, 1)

    @staticmethod
    def entries(grid: tuple[int, int], prefix: int) -> int:
        return (2 * grid[0] - 1) * (2 * grid[1] - 1) + (3 if prefix else 0)


def _index(grid: tuple[int, int], prefix: int) -> Tensor:
    """(N, N): which entry of the table a pair of tokens takes."""
    rows, cols = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    y_n, x_n = rows.flatten(), cols.flatten()
    offset_nn = (y_n[:, None] - y_n + grid[0] - 1) * (2 * grid[1] - 1) + (x_n[:, None] - x_n + grid[1] - 1)
    if not prefix:
        return offset_nn
    last = (2 * grid[0] - 1) * (2 * grid[1] - 1)
    full_nn = torch.full((prefix + len(y_n), prefix + len(y_n)), last + 2)
    full_nn[prefix:, prefix:] = offset_nn
    full_nn[:prefix, prefix:], full_nn[prefix:, :prefix] = last, last + 1
    return full_nn
