"""Vanilla attention (VA): Z = Softmax(q kᵀ / √D) v per head, through PyTorch's fused kernel.

Source: Vaswani et al. 2017; the VA layer of LaViT (Zhang et al., CVPR 2024, eq. 1–2). MACs 2·N²·C.
It hands its q and k on as factored scores, so that a `less` layer can reuse them without an N×N matrix.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, Scores, Site, block


@block("softmax")
class Softmax(Core):
    class Config(BlockConfig):
        block: Literal["softmax"] = "softmax"

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.scale = site.head_dim**-0.5

    def forward(self, inputs: Inputs) -> tuple[Tensor, Scores]:
        assert inputs.q_BNHD is not None and inputs.k_BNHD is not None and inputs.v_BNHD is not None
        q_BHND, k_BHND, v_BHND = (t.transpose(1, 2) for t in (inputs.q_BNHD, inputs.k_BNHD, inputs.v_BNHD))
        y_BHND = F.scaled_dot_product_attention(q_BHND, k_BHND, v_BHND, scale=self.scale)
        return y_BHND.transpose(1, 2), Scores(q_BHND, k_BHND, self.scale)

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        return Cost(2 * site.tokens**2 * site.width, 0)
