"""Vanilla attention (VA): Z = Softmax(q kᵀ / √D + bias) v per head, through PyTorch's fused kernel.

Source: Vaswani et al. 2017; the VA layer of LaViT (Zhang et al., CVPR 2024, eq. 1–2). MACs 2·N²·C.
It hands its q and k on as factored scores, so that a `less` layer can reuse them without an N×N matrix.

- `relative`: a learned bias per head and offset on the grid (Swin, LeViT). It belongs to this layer's softmax and is
  not handed on: what a `less` layer reuses is content.
- attention residual (LaViT's, between stages): where the stage brings scores of the stage before, they are added to
  this layer's own, [q, q̃][k, k̃]ᵀ where they are factored, as a bias where they are a matrix, and the sum is handed on.
- in a trained layer without a relative bias, the bias starts at zero.
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


@block("softmax")
class Softmax(Core):
    takes_residual = True
    undecayed = ("bias",)

    class Config(BlockConfig):
        block: Literal["softmax"] = "softmax"
        relative: bool = Field(False, description="a learned bias per head and offset on the grid")

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.scale = site.head_dim**-0.5
        self.bias = RelativeBias(site.grid, site.heads, site.prefix) if config.relative else None

    def forward(self, inputs: Inputs) -> tuple[Tensor, Scores]:
        q_BHND, k_BHND, v_BHND = inputs.heads_first()
        scores = Scores(q_BHND, k_BHND, self.scale)
        if inputs.residual is not None:
            scores = _added(scores, inputs.residual)
        bias_HNN = self.bias() if self.bias is not None else None
        if scores.matrix_BHNN is not None:
            a_BHNN = scores.matrix_BHNN if bias_HNN is None else scores.matrix_BHNN + bias_HNN
            y_BHND = a_BHNN.softmax(-1) @ v_BHND
        else:
            q_BHNE, k_BHNE = scores.factors()
            y_BHND = F.scaled_dot_product_attention(q_BHNE, k_BHNE, v_BHND, attn_mask=bias_HNN, scale=self.scale)
        return y_BHND.transpose(1, 2), scores

    def take_over(self, rows: Mapping[str, Rows]) -> set[str]:
        if self.bias is not None:
            nn.init.zeros_(self.bias.table)
        return set()

    @classmethod
    def exact(cls, config: Config) -> bool:
        return not config.relative  # the bias is not handed on

    @classmethod
    def outgoing(cls, config: Config, site: Site) -> ScoreForm:
        if site.residual is None:
            return ScoreForm("factored", site.head_dim)
        if site.residual.kind == "factored":
            return ScoreForm("factored", site.head_dim + site.residual.features)
        return ScoreForm("dense")

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        features = cls.outgoing(config, site).features or site.head_dim
        params = site.heads * RelativeBias.entries(site.grid, site.prefix) if config.relative else 0
        return Cost(site.tokens**2 * site.heads * (features + site.head_dim), params)


def _added(scores: Scores, residual: Scores) -> Scores:
    if residual.matrix_BHNN is not None:
        return Scores(matrix_BHNN=scores.dense() + residual.matrix_BHNN)
    (q_BHNE, k_BHNE), (rq_BHNE, rk_BHNE) = scores.factors(), residual.factors()
    q_BHNE = torch.cat((q_BHNE, rq_BHNE * (residual.scale / scores.scale)), -1)
    return Scores(q_BHNE, torch.cat((k_BHNE, rk_BHNE), -1), scores.scale)
