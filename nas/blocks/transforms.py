"""The maps Ψ and Θ that less-attention applies to the query and the key axis of the previous layer's scores.

Each is a linear map T of the token axis, N×N per head, in a form that costs more or less:

    dense     T = W                     N² weights      the paper's (LaViT, eq. 3); W = I at the start
    low_rank  T = I + U Vᵀ              2Nr weights     U = 0 at the start
    conv      T = depthwise k×k conv    k² weights      over the token grid, at any resolution; a delta at first
    identity  T = I                     none            plain reuse

Because the scores are bilinear in q and k, applying T to a factor (B, N, H, E) or to an axis of the matrix
(B, N, H, N) is the same operation, which is why one `forward` serves the fast and the reference path.
All start at the identity: a fresh LA layer repeats the attention of the layer before it. The paper's "linear layer"
may have a bias; less.py says how that stays factored. Prefix tokens have no place on the grid: conv leaves them be.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.base import Cost, Site
from nas.blocks.grid import to_grid, to_tokens


class Dense(nn.Module):
    def __init__(self, site: Site, heads: int):
        super().__init__()
        self.per_head, eye = heads > 1, torch.eye(site.tokens)
        self.weight = nn.Parameter(eye.clone() if heads == 1 else eye.repeat(heads, 1, 1))

    def forward(self, x_BNHF: Tensor) -> Tensor:
        return _mix(self.weight, x_BNHF, self.per_head)

    @staticmethod
    def cost(site: Site, heads: int, channels: int) -> Cost:
        return Cost(site.tokens**2 * channels, heads * site.tokens**2)


class LowRank(nn.Module):
    def __init__(self, site: Site, heads: int, rank: int):
        super().__init__()
        self.per_head, lead = heads > 1, () if heads == 1 else (heads,)
        self.up = nn.Parameter(torch.zeros(*lead, site.tokens, rank))
        self.down = nn.Parameter(torch.randn(*lead, rank, site.tokens) * site.tokens**-0.5)

    def forward(self, x_BNHF: Tensor) -> Tensor:
        return x_BNHF + _mix(self.up, _mix(self.down, x_BNHF, self.per_head), self.per_head)

    @staticmethod
    def cost(site: Site, heads: int, channels: int, rank: int) -> Cost:
        return Cost(2 * site.tokens * rank * channels, 2 * heads * site.tokens * rank)


class Conv(nn.Module):
    def __init__(self, site: Site, heads: int, kernel: int):
        super().__init__()
        delta = torch.zeros(heads, 1, kernel, kernel)
        delta[..., kernel // 2, kernel // 2] = 1.0
        self.weight = nn.Parameter(delta)
        self.grid, self.prefix, self.heads, self.filters = site.grid, site.prefix, site.heads, heads

    def forward(self, x_BNHF: Tensor) -> Tensor:
        features = x_BNHF.shape[-1]
        filters = self.weight.repeat_interleave(self.heads * features // self.filters, 0)
        x_BNC = x_BNHF.flatten(2).contiguous()  # convolutions on a slice of the qkv projection are slow
        x_BChw = to_grid(x_BNC, self.grid, self.prefix)
        y_BChw = F.conv2d(x_BChw, filters, padding=self.weight.shape[-1] // 2, groups=self.heads * features)
        y_BNC = to_tokens(y_BChw)
        if self.prefix:
            y_BNC = torch.cat((x_BNC[:, : self.prefix], y_BNC), 1)
        y_BNHF: Tensor = y_BNC.unflatten(2, (self.heads, features))
        return y_BNHF

    @staticmethod
    def cost(site: Site, heads: int, channels: int, kernel: int) -> Cost:
        return Cost((site.tokens - site.prefix) * kernel**2 * channels, heads * kernel**2)


class Identity(nn.Module):
    def forward(self, x_BNHF: Tensor) -> Tensor:
        return x_BNHF


def _mix(weight: Tensor, x_BNHF: Tensor, per_head: bool) -> Tensor:
    """weight (M, N), shared by the heads, or (H, M, N) with `per_head`, applied to the token axis."""
    if per_head:
        return (weight @ x_BNHF.transpose(1, 2)).transpose(1, 2)
    x_BNC = x_BNHF.flatten(2)
    if torch.is_grad_enabled():  # the batch is folded into one product: copies, but one gradient matrix for all images
        y_BMC = weight @ x_BNC
    else:  # a product per image reads strided rows as they are
        y_BMC = torch.bmm(weight.expand(x_BNC.shape[0], -1, -1), x_BNC)
    y_BMHF: Tensor = y_BMC.unflatten(2, x_BNHF.shape[2:])
    return y_BMHF
