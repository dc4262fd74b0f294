"""Rotary positions: queries and keys are rotated by angles that grow with their place on the grid (DINOv3).

    q'_n = R(θ_n) q_n,  k'_m = R(θ_m) k_m,      so that q'·k' depends on the offset θ_n − θ_m alone
    θ_n = 2π (y_n, x_n) / periods,              y, x in (−1, 1): centres of patches, each axis by its own length
    periods_i = temperature^(4i/D),             i = 0 … D/4 − 1, the same for both axes

Source: RoFormer (Su et al., 2021) for the rotation; DINOv3 (Siméoni et al., 2025) and its release for the coordinates,
which fit any grid without a table. R mixes the channels c and c + D/2 (the "half" layout). Prefix tokens have no place
and are not rotated. Scores that a layer hands on are those of rotated queries and keys.

`periods` is part of the weights: a checkpoint may hold rounded ones, and they stay in float32 under `.half()`.

Legend: B batch, N tokens (prefix + n on the grid), H heads, D head dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Turn(NamedTuple):
    """The rotation of a grid: sine and cosine of each token's angles, in the order of its channels.

    prefix: how many tokens come first that are not on the grid.
    """

    sin_nD: Tensor
    cos_nD: Tensor
    prefix: int

    def __call__(self, x_BNHD: Tensor) -> Tensor:
        """Rotated queries or keys; prefix tokens stay as they are."""
        x_BnHD = x_BNHD[:, self.prefix :]
        first, second = x_BnHD.chunk(2, -1)
        turned_BnHD = x_BnHD * self.cos_nD[:, None] + torch.cat((-second, first), -1) * self.sin_nD[:, None]
        turned_BnHD = turned_BnHD.to(x_BNHD.dtype)
        return torch.cat((x_BNHD[:, : self.prefix], turned_BnHD), 1) if self.prefix else turned_BnHD


class Rotary(nn.Module):
    """`rotary()` is the `Turn` of a stage's grid."""

    periods: Tensor

    def __init__(self, grid: tuple[int, int], prefix: int, head_dim: int, temperature: float):
        super().__init__()
        self.grid, self.prefix = grid, prefix
        exponents = 2.0 * torch.arange(head_dim // 4, dtype=torch.float32) / (head_dim // 2)
        self.register_buffer("periods", temperature**exponents)

    def forward(self) -> Turn:
        sides = [torch.arange(0.5, s, device=self.periods.device, dtype=torch.float32) / s for s in self.grid]
        place_n2 = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).flatten(0, 1) * 2 - 1
        angle_nE = (2 * math.pi * place_n2[:, :, None].to(self.periods.dtype) / self.periods).flatten(1)  # E = D/2
        return Turn(angle_nE.sin().repeat(1, 2), angle_nE.cos().repeat(1, 2), self.prefix)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        wide = self.periods
        moved = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.periods.dtype in (torch.float16, torch.bfloat16):
            self.periods = wide.to(self.periods.device)
        return moved
