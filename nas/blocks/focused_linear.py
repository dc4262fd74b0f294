"""Focused linear attention: ReLU features sharpened by a power that keeps their norm (FLatten Transformer).

    y_i = φ(q_i) (Σ_j φ(k_j)ᵀ v_j) / (φ(q_i) · Σ_j φ(k_j)),    φ(x) = f_p((ReLU(x) + 1e-6) / softplus(s))
    f_p(u) = ‖u‖ / ‖u^p‖ · u^p        (elementwise power; a larger p pulls a vector towards its nearest axis)

Source: Han et al., ICCV 2023, eq. 3–6, and the release for what the paper leaves out: the learned scale s per channel
(softplus(s), s = 0 at the start), norms over all C channels before the heads are split, 1e-6 inside.
MACs 2·N·C·D + N·C; parameters C, and N·C with `key_position`.

- The paper's second half, the rank restoration y + DWC(v), is a `local` block here and not part of this core:
  `local: {block: depthwise, dimensions: 2, kernel: 5}`. (The release shares the D filters between heads and has a
  bias; ours has one filter per channel and no bias.)
- `key_position`: the release adds a learned table to k. Default off: stages have positions of their own, and a table
  ties the core to one grid.
- The power is taken of u/max(u), which is the same f_p and cannot underflow; sums are in float32 also under autocast.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, Site, block
from nas.blocks.precision import full_precision, wide
from nas.blocks.relu_linear import linear_attention, linear_attention_cost
from nas.blocks.scores import Scores


@block("focused_linear")
class FocusedLinear(Core):
    undecayed = ("temperature", "position")

    class Config(BlockConfig):
        block: Literal["focused_linear"] = "focused_linear"
        power: int = Field(3, ge=1, le=16, description="p, by which features are sharpened")
        key_position: bool = Field(False, description="a learned table added to k")

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.power, self.scale = config.power, site.head_dim**-0.5
        self.temperature = nn.Parameter(torch.zeros(site.width))
        self.position = nn.Parameter(torch.zeros(site.tokens, site.width)) if config.key_position else None

    def forward(self, inputs: Inputs) -> tuple[Tensor, Scores]:
        q_BNHD, k_BNHD = inputs.q_BNHD, inputs.k_BNHD
        if self.position is not None:
            k_BNHD = k_BNHD + self.position.view(k_BNHD.shape[1:])
        with full_precision(q_BNHD):
            q_BHND, k_BHND = (self._focused(t) for t in (q_BNHD, k_BNHD))
            v_BHND = wide(inputs.v_BNHD.transpose(1, 2))
            y_BHND = linear_attention(q_BHND, k_BHND, v_BHND, epsilon=1e-6 * v_BHND.shape[-2])
        scores = Scores(q_BNHD.transpose(1, 2), k_BNHD.transpose(1, 2), self.scale)
        return y_BHND.to(q_BNHD.dtype).transpose(1, 2), scores

    def _focused(self, x_BNHD: Tensor) -> Tensor:
        """φ(x) as (B, H, N, D), in float32."""
        u_BNC = (F.relu(wide(x_BNHD.flatten(2))) + 1e-6) / F.softplus(wide(self.temperature))
        sharp_BNC = (u_BNC / u_BNC.detach().amax(-1, keepdim=True)) ** self.power
        norm_BN1, sharp_norm_BN1 = (torch.linalg.vector_norm(t, dim=-1, keepdim=True) for t in (u_BNC, sharp_BNC))
        sharp_BHND: Tensor = (sharp_BNC * (norm_BN1 / sharp_norm_BN1)).unflatten(2, x_BNHD.shape[2:]).transpose(1, 2)
        return sharp_BHND

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        table = site.tokens * site.width if config.key_position else 0
        return linear_attention_cost(site) + Cost(0, site.width + table)
