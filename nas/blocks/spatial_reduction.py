"""Spatial-reduction attention: full queries against keys and values of a downsampled grid (PVT; PVTv2).

    SRA(x) = Softmax(q K_ᵣᵀ / √D) V_ᵣ,     [K_ᵣ, V_ᵣ] = W_kv · LayerNorm(Conv_{r×r, stride r}(x))

Sources: PVT (Wang et al., ICCV 2021, eq. 2–4) and PVTv2 (CVMJ 2022); both releases, and timm's `pvt_v2`, have the same
layout: `q`, `kv`, `sr` (a convolution with bias) and `norm` (eps 1e-5). The layer projects q; this block holds the
rest, so their weights fit name by name: q → the layer's projection, kv, sr, norm → here, proj → the layer's.
MACs, n = ⌊h/r⌋·⌊w/r⌋ + prefix reduced tokens: 2NnC attention, 2nC² kv, and n_grid·r²C² for the convolution.

- `ratio: 1` has neither convolution nor norm: plain attention with full projections (PVT's last stage).
- `bias`: of kv. The releases give it the bias of q; set it to false where the genome has `qkv_bias: false`.
- Prefix tokens skip convolution and norm and join the reduced tokens before kv. (PVT's class token enters in its last
  stage, where the ratio is 1: there is nothing to follow.)
- A grid that `ratio` does not divide is refused: the convolution would drop the last rows and columns unseen.
- `pooled: 7` is PVTv2's linear variant: the grid is averaged to 7×7, then a 1×1 convolution, the norm and a GELU. The
  cost of attention no longer depends on N². The ratio is then 1, and any grid fits.
- It takes over from full attention with that layer's k and v as its kv, and a convolution that averages each window;
  the norm behind it has its initial values, since full attention has nothing in its place.
- No scores are handed on: keys stand for windows and not for tokens, so a `less` layer could not map them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, Rows, Site, block
from nas.blocks.grid import to_grid, to_tokens
from nas.errors import GenomeError


@block("spatial_reduction")
class SpatialReduction(Core):
    class Config(BlockConfig):
        block: Literal["spatial_reduction"] = "spatial_reduction"
        ratio: int = Field(1, ge=1, le=65_536, description="side of the pixels that become one key; divides the grid")
        bias: bool = Field(True, description="of k and v")
        pooled: int | None = Field(None, ge=1, le=64, description="side of the grid of keys, whatever that of queries")

        def keys(self, grid: tuple[int, int]) -> int:
            """The number of keys from the grid."""
            return self.pooled**2 if self.pooled else (grid[0] // self.ratio) * (grid[1] // self.ratio)

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.pooled, self.shape = config.pooled, (site.heads, site.head_dim)
        self.grid, self.prefix, self.scale = site.grid, site.prefix, site.head_dim**-0.5
        self.kv = nn.Linear(site.width, 2 * site.width, bias=config.bias)
        self.sr: nn.Module | None = None
        if config.ratio > 1 or config.pooled:
            self.sr = nn.Conv2d(site.width, site.width, config.ratio, config.ratio)
            self.norm = nn.LayerNorm(site.width, eps=1e-5)

    def forward(self, inputs: Inputs) -> tuple[Tensor, None]:
        q_BNHD = inputs.q_BNHD
        kv_Bn2HD = self.kv(self._reduced(inputs.x_BNC)).unflatten(2, (2, *self.shape))
        k_BHnD, v_BHnD = (kv_Bn2HD[:, :, part].transpose(1, 2) for part in (0, 1))
        y_BHND = F.scaled_dot_product_attention(q_BNHD.transpose(1, 2), k_BHnD, v_BHnD, scale=self.scale)
        return y_BHND.transpose(1, 2), None

    def _reduced(self, x_BNC: Tensor) -> Tensor:
        """(B, n, C): prefix tokens as they are, then the normalised tokens of the reduced grid."""
        if self.sr is None:
            return x_BNC
        x_BChw = to_grid(x_BNC, self.grid, self.prefix)
        if self.pooled:
            r_BnC = F.gelu(self.norm(to_tokens(self.sr(F.adaptive_avg_pool2d(x_BChw, self.pooled)))))
        else:
            r_BnC = self.norm(to_tokens(self.sr(x_BChw)))
        return torch.cat((x_BNC[:, : self.prefix], r_BnC), 1) if self.prefix else r_BnC

    def take_over(self, rows: Mapping[str, Rows]) -> set[str]:
        if isinstance(self.sr, nn.Conv2d):
            for parameter in self.sr.parameters():
                nn.init.zeros_(parameter)
            self.sr.weight.diagonal().fill_(1 / self.sr.weight[0, 0].numel())  # (r, r, C), a view
        if not rows.keys() >= {"k", "v"}:
            return set()
        for part, letter in enumerate("kv"):
            own = slice(part * len(rows[letter].weight_CC), (part + 1) * len(rows[letter].weight_CC))
            self.kv.weight[own] = rows[letter].weight_CC
            if self.kv.bias is not None:
                self.kv.bias[own] = 0.0 if (bias_C := rows[letter].bias_C) is None else bias_C
        return {f"kv.{name}" for name, _ in self.kv.named_parameters()}

    def held_rows(self) -> dict[str, Rows]:
        weights = self.kv.weight.chunk(2)
        biases = self.kv.bias.chunk(2) if self.kv.bias is not None else (None, None)
        return {letter: Rows(*pair) for letter, *pair in zip("kv", weights, biases, strict=True)}

    @classmethod
    def projects(cls, config: Config, site: Site) -> str:
        return "q"

    @classmethod
    def outgoing(cls, config: Config, site: Site) -> None:
        return None

    @classmethod
    def check(cls, config: Config, site: Site) -> None:
        h, w = site.grid
        if config.pooled and config.ratio > 1:
            raise GenomeError(f"pooled replaces the ratio, which is then 1; found {config.ratio}", path="ratio")
        if h % config.ratio or w % config.ratio:
            fits = [r for r in range(1, min(h, w) + 1) if h % r == 0 and w % r == 0]
            raise GenomeError(
                f"ratio {config.ratio} does not divide the grid {h}x{w}; ratios that do: {fits}", path="ratio"
            )

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        c, grid = site.width, config.keys(site.grid)
        reduced = site.prefix + grid
        total = Cost(2 * site.tokens * reduced * c + 2 * reduced * c * c, 2 * c * (c + config.bias))
        if config.ratio > 1 or config.pooled:
            weights = config.ratio**2 * c * c
            total += Cost(grid * weights, weights + c + 2 * c)
        return total
