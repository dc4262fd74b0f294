"""Less-attention (LA): the scores of the layer before, transformed, instead of new ones (LaViT, CVPR 2024, eq. 3–4).

    A^l = Ψ(Θ(A^{l-1})ᵀ)ᵀ = Ψ A^{l-1} Θᵀ,      Z = Softmax(A^l) v^l        (an LA layer projects v alone)

Since A = s·q kᵀ is bilinear, A^l = s·(Ψq)(Θk)ᵀ exactly: the layer is ordinary attention on token-mixed queries and
keys, needs no N×N matrix, runs on the fused kernel, and costs N²C per side instead of H·N³. That is `path: factored`;
`path: dense` is the equation as printed and the reference that tests compare with; `auto` takes the fewer MACs.

Where the paper is silent:
- `transform`: dense (as printed), low_rank, conv, identity: see transforms.py. Default dense.
- `per_head`: Ψ and Θ of each head's own, or (default) shared by the heads.
- `bias` of the two linear layers. Adding b to a transformed axis is a rank-one term: (Ψ1)b_Θᵀ + b_Ψ1ᵀ, that is two
  more feature columns on q and k. Default off: the columns break the kernels' aligned head size.
- `source`: the pre-softmax scores (default; the paper's figure taps the matrix there), or the row-softmaxed `weights`.
  Mapped weights are used as they are: a second softmax over numbers in [0, 1] would be almost uniform.

It takes over from any layer behind another that hands on scores: Ψ and Θ start at the identity, v is the layer's own.

MACs, dense transform: factored 2N²·H·E + N²·H·(E + D); dense 2H·N³ + N²C, plus N²·H·E where scores arrive factored.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, OddKernel, Site, block
from nas.blocks.scores import ScoreForm, Scores
from nas.blocks.transforms import Conv, Dense, Identity, LowRank
from nas.errors import GenomeError


@block("less")
class Less(Core):
    needs = "scores"
    undecayed = ("psi", "theta")  # they rest at the identity, not at zero

    class Config(BlockConfig):
        block: Literal["less"] = "less"
        transform: Literal["dense", "low_rank", "conv", "identity"] = Field(
            "dense", description="form of the maps Ψ and Θ"
        )
        rank: int = Field(16, ge=1, le=65_536, description="of low_rank")
        kernel: OddKernel = Field(3, ge=1, le=15, description="of conv, odd")
        per_head: bool = Field(False, description="maps of each head's own")
        bias: bool = Field(False, description="of the two maps")
        source: Literal["scores", "weights"] = Field(
            "scores", description="pre-softmax scores, or row-softmaxed weights"
        )
        path: Literal["auto", "factored", "dense"] = Field(
            "auto", description="how it is computed; auto: with fewer MACs"
        )

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.form = self.outgoing(config, site)
        self.psi, self.theta = (_transform(config, site) for _ in "qk")
        self.bias_psi, self.bias_theta = (nn.Parameter(torch.zeros(site.tokens)) if config.bias else None for _ in "qk")

    def forward(self, inputs: Inputs) -> tuple[Tensor, Scores]:
        assert inputs.scores is not None
        v_BHND = inputs.v_BNHD.transpose(1, 2)
        if self.form.kind == "factored":
            scores = self._map_factors(inputs.scores)
            y_BHND = F.scaled_dot_product_attention(*scores.factors(), v_BHND, scale=scores.scale)
        else:
            softmaxed = self.form.kind == "weights"
            before_BHNN = inputs.scores.weights() if softmaxed else inputs.scores.dense()
            scores = Scores(matrix_BHNN=self._map_matrix(before_BHNN), softmaxed=softmaxed, reused=True)
            y_BHND = scores.weights() @ v_BHND
        return y_BHND.transpose(1, 2), scores

    def _map_factors(self, before: Scores) -> Scores:
        """q' = [Ψq, Ψ1, b_Ψ], k' = [Θk, b_Θ, 1], the last two columns with a bias only (1/s undoes the score scale)."""
        q_BHNE, k_BHNE = before.factors()
        q_BNHE, k_BNHE = self.psi(q_BHNE.transpose(1, 2)), self.theta(k_BHNE.transpose(1, 2))
        if self.bias_psi is not None and self.bias_theta is not None:
            ones_BNH1 = torch.ones_like(q_BNHE[..., :1])
            undo = 1 / before.scale
            bias_psi, bias_theta = (b[:, None, None] * ones_BNH1 for b in (self.bias_psi, self.bias_theta))
            q_BNHE = torch.cat((q_BNHE, self.psi(ones_BNH1) * undo, bias_psi * undo), -1)
            k_BNHE = torch.cat((k_BNHE, bias_theta, ones_BNH1), -1)
        return Scores(q_BNHE.transpose(1, 2), k_BNHE.transpose(1, 2), before.scale, reused=True)

    def _map_matrix(self, a_BHNN: Tensor) -> Tensor:
        """Ψ(Θ(A)ᵀ)ᵀ as printed: Θ along the keys of each row, Ψ along the queries of each column."""
        a_BNHN = self.theta(a_BHNN.permute(0, 3, 1, 2))  # keys first
        if self.bias_theta is not None:
            a_BNHN = a_BNHN + self.bias_theta[:, None, None]
        a_BNHN = self.psi(a_BNHN.permute(0, 3, 2, 1))  # queries first
        if self.bias_psi is not None:
            a_BNHN = a_BNHN + self.bias_psi[:, None, None]
        mapped_BHNN: Tensor = a_BNHN.transpose(1, 2)
        return mapped_BHNN

    @classmethod
    def projects(cls, config: Config, site: Site) -> str:
        return "v"

    @classmethod
    def check(cls, config: Config, site: Site) -> None:
        incoming = site.incoming
        assert incoming is not None
        if config.source == "scores" and incoming.kind == "weights":
            raise GenomeError(
                "the layer before hands on softmaxed weights, from which scores cannot be had; use source: weights",
                path="source",
            )
        if config.path == "factored" and (config.source == "weights" or incoming.kind != "factored"):
            raise GenomeError("a factored path needs source: scores and factored scores before it", path="path")

    @classmethod
    def outgoing(cls, config: Config, site: Site) -> ScoreForm:
        assert site.incoming is not None
        if config.source == "weights":
            return ScoreForm("weights")
        if config.path == "dense" or site.incoming.kind == "dense":
            return ScoreForm("dense")
        if config.path == "auto" and _macs_dense(config, site) < _macs_factored(config, site):
            return ScoreForm("dense")
        return ScoreForm("factored", site.incoming.features + 2 * config.bias)

    @classmethod
    def exact(cls, config: Config) -> bool:
        return True

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        factored = cls.outgoing(config, site).kind == "factored"
        macs = _macs_factored(config, site) if factored else _macs_dense(config, site)
        return Cost(macs, _transform_cost(config, site, site.heads).params + 2 * config.bias * site.tokens)


def _transform(config: Less.Config, site: Site) -> nn.Module:
    heads = site.heads if config.per_head else 1
    if config.transform == "dense":
        return Dense(site, heads)
    if config.transform == "low_rank":
        return LowRank(site, heads, config.rank)
    return Conv(site, heads, config.kernel) if config.transform == "conv" else Identity()


def _transform_cost(config: Less.Config, site: Site, channels: int) -> Cost:
    """Of Ψ and Θ together, over `channels` = heads × features columns."""
    heads = site.heads if config.per_head else 1
    if config.transform == "dense":
        one = Dense.cost(site, heads, channels)
    elif config.transform == "low_rank":
        one = LowRank.cost(site, heads, channels, config.rank)
    else:
        one = Conv.cost(site, heads, channels, config.kernel) if config.transform == "conv" else Cost(0, 0)
    return Cost(2 * one.macs, 2 * one.params)


def _macs_factored(config: Less.Config, site: Site) -> int:
    assert site.incoming is not None
    features = site.incoming.features
    bias = _transform_cost(config, site, site.heads).macs // 2 if config.bias else 0  # Ψ1
    attention = site.tokens**2 * site.heads * (features + 2 * config.bias + site.head_dim)
    return _transform_cost(config, site, site.heads * features).macs + bias + attention


def _macs_dense(config: Less.Config, site: Site) -> int:
    assert site.incoming is not None
    materialise = site.tokens**2 * site.heads * site.incoming.features  # 0 where a matrix arrives
    mapped = _transform_cost(config, site, site.heads * site.tokens).macs
    return materialise + mapped + site.tokens**2 * site.width
