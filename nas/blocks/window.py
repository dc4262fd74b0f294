"""Window attention: softmax inside square windows of the grid, shifted in every other layer (Swin).

    Z = Softmax(q kᵀ / √D + bias + mask) v        for each window of M×M tokens on its own

Source: Liu et al., ICCV 2021. The bias is learned per head and offset, one table for all windows of a layer. With
`shift` the grid is rolled by ⌊M/2⌋ both ways first and back afterwards; the windows at the far edge then hold tokens
from opposite sides of the image, and the mask keeps those apart. MACs 2·N·M²·C instead of 2·N²·C.

- `size`: M, default 7. Where it reaches the grid's side, the window is the grid along that axis and nothing is shifted
  (Swin's last stage); where it covers the grid, this is plain attention with a relative bias.
- A grid that M does not divide is refused; the release pads there, which lets padding take part in attention.
- Prefix tokens belong to no window, and Swin has none: refused.
- In a trained layer that it takes over from another core, the bias starts at zero.
- Scores are handed on only where the window covers the grid: between windows q kᵀ was never trained.

Windows and heads share one axis of the fused kernel, so that bias and mask are broadcast over the batch, not copied.
Shape legend beside base.py's: W windows, M² tokens of a window.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, Rows, Site, block
from nas.blocks.relative import RelativeBias
from nas.blocks.scores import ScoreForm, Scores
from nas.errors import GenomeError


@block("window")
class Window(Core):
    undecayed = ("bias",)
    apart: Tensor | None

    class Config(BlockConfig):
        block: Literal["window"] = "window"
        size: int = Field(7, ge=1, le=65_536, description="side of a window in tokens; divides the grid, or covers it")
        shift: bool = Field(False, description="roll the grid by half a window")

        def window(self, grid: tuple[int, int]) -> tuple[int, int]:
            return min(self.size, grid[0]), min(self.size, grid[1])

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.grid, self.window = site.grid, config.window(site.grid)
        self.covers = self.window == site.grid
        self.heads, self.scale = site.heads, site.head_dim**-0.5
        self.count = tuple(side // part for side, part in zip(self.grid, self.window, strict=True))
        parts = zip(self.count, self.window, strict=True)
        self.shift = tuple(part // 2 if config.shift and count > 1 else 0 for count, part in parts)
        self.bias = RelativeBias(self.window, site.heads)
        apart = _apart(self.grid, self.window, self.shift) if any(self.shift) else None
        self.register_buffer("apart", apart, persistent=False)

    def forward(self, inputs: Inputs) -> tuple[Tensor, Scores | None]:
        q, k, v = (self._split(t) for t in (inputs.q_BNHD, inputs.k_BNHD, inputs.v_BNHD))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self._mask(), scale=self.scale)
        scores = None
        if self.covers:
            scores = Scores(inputs.q_BNHD.transpose(1, 2), inputs.k_BNHD.transpose(1, 2), self.scale)
        return self._merged(y), scores

    def _mask(self) -> Tensor:
        """(1, W·H, M², M²): the relative bias in every window, −∞ between tokens that only the shift brought close."""
        bias_1HMM = self.bias().unsqueeze(0)
        if self.apart is not None:
            bias_WHMM = torch.where(self.apart.unsqueeze(1), float("-inf"), bias_1HMM)
        else:
            bias_WHMM = bias_1HMM.expand(self.count[0] * self.count[1], -1, -1, -1)
        return bias_WHMM.flatten(0, 1).unsqueeze(0)

    def _split(self, t_BNHD: Tensor) -> Tensor:
        """(B, W·H, M², D), rolled where the windows are shifted."""
        t_BhwHD = t_BNHD.unflatten(1, self.grid)
        if any(self.shift):
            t_BhwHD = t_BhwHD.roll((-self.shift[0], -self.shift[1]), (1, 2))
        (rows, cols), (high, wide) = self.count, self.window
        t = t_BhwHD.unflatten(2, (cols, wide)).unflatten(1, (rows, high))  # (B, rows, high, cols, wide, H, D)
        windows: Tensor = t.permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(1, 3)
        return windows

    def _merged(self, y: Tensor) -> Tensor:
        """Back from (B, W·H, M², D) to (B, N, H, D)."""
        t = y.unflatten(2, self.window).unflatten(1, (*self.count, self.heads))  # (B, rows, cols, H, high, wide, D)
        y_BhwHD = t.permute(0, 1, 4, 2, 5, 3, 6).flatten(3, 4).flatten(1, 2)
        if any(self.shift):
            y_BhwHD = y_BhwHD.roll(self.shift, (1, 2))
        y_BNHD: Tensor = y_BhwHD.flatten(1, 2)
        return y_BNHD

    def take_over(self, rows: Mapping[str, Rows]) -> set[str]:
        nn.init.zeros_(self.bias.table)
        return set()

    @classmethod
    def outgoing(cls, config: Config, site: Site) -> ScoreForm | None:
        return ScoreForm("factored", site.head_dim) if config.window(site.grid) == site.grid else None

    @classmethod
    def check(cls, config: Config, site: Site) -> None:
        if site.prefix:
            raise GenomeError("a class token belongs to no window; use pool: mean, or another core in this stage")
        (h, w), (high, wide) = site.grid, config.window(site.grid)
        if h % high or w % wide:
            fits = [m for m in range(1, max(h, w) + 1) if h % min(m, h) == 0 and w % min(m, w) == 0]
            raise GenomeError(
                f"windows of {config.size} do not fit the grid {h}x{w}; sizes that do: {fits}", path="size"
            )

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        high, wide = config.window(site.grid)
        return Cost(2 * site.tokens * high * wide * site.width, site.heads * RelativeBias.entries((high, wide), 0))


def _apart(grid: tuple[int, int], window: tuple[int, ...], shift: tuple[int, ...]) -> Tensor:
    """(W, M², M²): whether two tokens of a window of the rolled grid come from opposite edges of the image."""
    rows, cols = (_side_of_seam(side, by) for side, by in zip(grid, shift, strict=True))
    region_hw = rows[:, None] * 2 + cols
    region_WM = region_hw.unflatten(1, (-1, window[1])).unflatten(0, (-1, window[0])).transpose(1, 2).flatten(2)
    region_WM = region_WM.flatten(0, 1)
    apart_WMM: Tensor = region_WM[:, :, None] != region_WM[:, None, :]
    return apart_WMM


def _side_of_seam(side: int, shift: int) -> Tensor:
    """0 for a row (or column) of the rolled grid that stayed in order, 1 for the last `shift`, which came round."""
    return (torch.arange(side) >= side - shift).long()
