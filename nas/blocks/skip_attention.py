"""SkipAt: no attention at all, but what the attention of the layer before answered, put through a small function Φ.

    Z^l = Φ(Z^{l−1}),     Φ(Z) = ECA( W₂ · GELU( DWConv_{5×5}( GELU(W₁ Z) ) ) ),     W₁: C → 2C, W₂: 2C → C

Source: Venkataramanan et al., "Skip-Attention", ICLR 2024, eq. 4–6, and its release for the activations and for ECA
(Wang et al., CVPR 2020): channels scaled by sigmoid(conv₃(mean over tokens)), one filter of 3 taps without bias.
Z is the output of the attention block after its projection, before layer scale and stochastic depth; a run of these
layers is a chain, each on the answer of the one before, as in the release.
MACs n(2eC² + k²eC) + 3C with n = h·w, expansion e and kernel k: 4C² instead of 4C² + 2NC per token, and no N².

- Prefix tokens skip Φ: the class token's answer is passed on as it is, as in the release.
- The layer's tokens are not read, so the layer has no first norm, and no projections in or out.
- In a trained model Φ starts close to the identity (for an expansion of at least 2): W₁ = s[I; −I], a delta kernel,
  W₂ = 2/s [I, −I] and a zero ECA filter, since GELU(GELU(s z)) − GELU(GELU(−s z)) ≈ s z for a large s.
- No scores are made; those of an earlier layer stay within reach of a later `less`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, OddKernel, Rows, Site, block
from nas.blocks.grid import to_grid, to_tokens

ECA_TAPS = 3
STEEP = 8.0  # slope at which GELU is close to a ReLU for answers of ordinary size


@block("skip_attention")
class SkipAttention(Core):
    needs = "mixed"
    projects_out = False

    class Config(BlockConfig):
        block: Literal["skip_attention"] = "skip_attention"
        expansion: int = Field(2, ge=1, le=8, description="hidden width of Φ over the width")
        kernel: OddKernel = Field(5, ge=1, le=31, description="of the depthwise convolution, odd")

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.grid, self.prefix, self.shape = site.grid, site.prefix, (site.heads, site.head_dim)
        hidden, half = config.expansion * site.width, config.kernel // 2
        self.linear1 = nn.Linear(site.width, hidden)
        self.conv = nn.Conv2d(hidden, hidden, config.kernel, padding=half, groups=hidden)
        self.linear2 = nn.Linear(hidden, site.width)
        self.eca = nn.Conv1d(1, 1, ECA_TAPS, padding=ECA_TAPS // 2, bias=False)

    def forward(self, inputs: Inputs) -> tuple[Tensor, None]:
        assert inputs.mixed_BNC is not None
        z_BNC = inputs.mixed_BNC
        u_BnE = F.gelu(self.linear1(z_BNC[:, self.prefix :]))
        u_BEhw = self.conv(to_grid(u_BnE, self.grid))
        y_BNC = self.linear2(F.gelu(to_tokens(u_BEhw)))
        y_BNC = y_BNC * self.eca(y_BNC.mean(1, keepdim=True)).sigmoid()
        if self.prefix:
            y_BNC = torch.cat((z_BNC[:, : self.prefix], y_BNC), 1)
        return y_BNC.unflatten(2, self.shape), None

    def take_over(self, rows: Mapping[str, Rows]) -> set[str]:
        width, middle = self.linear2.out_features, self.conv.weight.shape[-1] // 2
        if self.linear1.out_features < 2 * width:
            return set()
        for tensor in self.parameters():
            nn.init.zeros_(tensor)
        eye = torch.eye(width)
        both = torch.cat((eye, -eye))
        self.linear1.weight[: 2 * width] = STEEP * both
        self.conv.weight[:, 0, middle, middle] = 1.0
        self.linear2.weight[:, : 2 * width] = 2 / STEEP * both.T  # ECA's sigmoid(0) halves it
        return set()

    @classmethod
    def projects(cls, config: Config, site: Site) -> str:
        return ""

    @classmethod
    def outgoing(cls, config: Config, site: Site) -> None:
        return None

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        c, hidden, taps = site.width, config.expansion * site.width, config.kernel**2
        macs = (site.tokens - site.prefix) * hidden * (2 * c + taps) + ECA_TAPS * c
        return Cost(macs, hidden * (2 * c + 1 + taps + 1) + c + ECA_TAPS)
