"""Hydra attention: linear attention with as many heads as channels, so that nothing is left to multiply as matrices.

    y_i = q̂_i ⊙ Σ_j k̂_j ⊙ v_j,      q̂ = q/‖q‖, k̂ = k/‖k‖ over all C channels

Source: Bolya et al., "Hydra Attention: Efficient Attention with Many Heads", ECCV 2022 workshops; cosine-similarity
kernel, no row normaliser. 2·N·C elementwise multiply-adds, which are no matrix product: cost by formula is 0.

The heads of the stage do not matter to the mixing; they are the shape in which q, k, v come and in which q and k are
handed on. One gate Σ k̂⊙v is shared by all tokens: mixing is global and order-free, without a notion of place. Zero
vectors stay zero; the released form gives NaN.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, Site, block
from nas.blocks.scores import Scores
from nas.blocks.unit import unit


@block("hydra")
class Hydra(Core):
    class Config(BlockConfig):
        block: Literal["hydra"] = "hydra"

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.scale = site.head_dim**-0.5

    def forward(self, inputs: Inputs) -> tuple[Tensor, Scores]:
        q_BNC, k_BNC, v_BNC = (t.flatten(2) for t in (inputs.q_BNHD, inputs.k_BNHD, inputs.v_BNHD))
        y_BNC = unit(q_BNC) * (unit(k_BNC) * v_BNC).sum(1, keepdim=True)
        scores = Scores(inputs.q_BNHD.transpose(1, 2), inputs.k_BNHD.transpose(1, 2), self.scale)
        return y_BNC.unflatten(2, inputs.q_BNHD.shape[2:]), scores

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        return Cost(0, 0)
