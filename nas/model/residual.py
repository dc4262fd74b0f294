"""LaViT's attention residual: the last scores of a stage, mapped to the next stage's grid and heads.

    A_first = s·q kᵀ + R,     R = LayerScale( Conv1×1( Norm( DWConv(A_{m−1}) ) ) )      (CVPR 2024, eq. 5)

The paper says "a convolution that fits the size". Two readings, p being the stride between the stages:
- `flat`: a depthwise convolution (heads as channels) of kernel and stride p² over the flat N'×N' matrix, then a norm
  and a 1×1 convolution over heads. The sizes match, but p² raster neighbours form a strip, not the p×p patch that is
  merged.
- `separable`: the query axis and the key axis are each pooled on their own grid by a learned p×p filter per head, and
  heads are mixed: R_h = γ_h Σ_g M_hg (P q_g)(P' k_g)ᵀ. The geometry is correct and the result stays factored: the
  columns M_hg·P q_g and P'k_g of all heads g extend the q and k of the first layer. The norm does not factorise and is
  omitted.

Legend: B batch, G heads of the stage before, H heads here, n, N tokens before and here, E features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks import Cost, Scores, Site
from nas.blocks.grid import to_grid, to_tokens
from nas.genome.layout import StagePlan


class Flat(nn.Module):
    def __init__(self, before: Site, heads: int, stride: int, prefix: int):
        super().__init__()
        self.prefix = prefix
        self.pool = nn.Conv2d(before.heads, before.heads, stride**2, stride**2, groups=before.heads, bias=False)
        self.norm = nn.GroupNorm(1, before.heads)
        self.mix = nn.Conv2d(before.heads, heads, 1, bias=False)
        self.scale = nn.Parameter(torch.full((heads, 1, 1), 0.1))

    def forward(self, scores: Scores) -> Scores:
        r_BHNN = self.scale * self.mix(self.norm(self.pool(scores.dense())))
        return Scores(matrix_BHNN=F.pad(r_BHNN, (self.prefix, 0, self.prefix, 0)))

    @staticmethod
    def cost(before: Site, heads: int, stride: int) -> Cost:
        assert before.incoming is not None
        tokens, g = before.tokens // stride**2, before.heads
        materialise = before.tokens**2 * g * before.incoming.features
        macs = materialise + tokens**2 * g * stride**4 + tokens**2 * g * heads
        return Cost(macs, g * stride**4 + 2 * g + g * heads + heads)


class Separable(nn.Module):
    def __init__(self, before: Site, heads: int, stride: int, prefix: int):
        super().__init__()
        self.grid, self.stride, self.prefix, self.heads = before.grid, stride, prefix, heads
        self.pools = nn.ParameterList(torch.full((before.heads, 1, stride, stride), stride**-2.0) for _ in "qk")
        self.mix = nn.Parameter(torch.empty(heads, before.heads))
        nn.init.kaiming_uniform_(self.mix, a=5**0.5)
        self.scale = nn.Parameter(torch.full((heads, 1), 0.1))

    def forward(self, scores: Scores) -> Scores:
        assert scores.q_BHNE is not None and scores.k_BHNE is not None
        q_BNGE, k_BNGE = (
            self._pooled(t.transpose(1, 2), w) for t, w in zip((scores.q_BHNE, scores.k_BHNE), self.pools, strict=True)
        )
        mix_HG1 = (self.scale * self.mix)[:, None, :, None]
        q_BHNE = (q_BNGE[:, None] * mix_HG1).flatten(3)  # (B, H, N, G·E)
        k_BHNE = k_BNGE.flatten(2)[:, None].expand(-1, self.heads, -1, -1)
        pad = (0, 0, self.prefix, 0)
        return Scores(F.pad(q_BHNE, pad), F.pad(k_BHNE, pad), scores.scale)

    def _pooled(self, x_BnGE: Tensor, weight: Tensor) -> Tensor:
        heads, features = x_BnGE.shape[2:]
        x_BChw = to_grid(x_BnGE.flatten(2), self.grid)
        y_BChw = F.conv2d(x_BChw, weight.repeat_interleave(features, 0), stride=self.stride, groups=heads * features)
        return torch.unflatten(to_tokens(y_BChw), 2, (heads, features))

    @staticmethod
    def cost(before: Site, heads: int, stride: int) -> Cost:
        assert before.incoming is not None
        g = before.heads
        macs = 2 * before.tokens * g * before.incoming.features  # every pixel is in one window
        return Cost(macs, 2 * g * stride**2 + heads * g + heads)


FORMS: dict[str, type[Flat] | type[Separable]] = {"flat": Flat, "separable": Separable}


def attention_residual(plan: StagePlan) -> Flat | Separable | None:
    """The module that maps scores into a stage, or None without an attention residual."""
    if plan.source is None:
        return None
    return FORMS[plan.attention_residual](plan.source, plan.layers[0].site.heads, plan.stride, plan.prefix)


def attention_residual_cost(plan: StagePlan) -> Cost:
    assert plan.source is not None
    return FORMS[plan.attention_residual].cost(plan.source, plan.layers[0].site.heads, plan.stride)
