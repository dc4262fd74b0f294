"""Masked softmax: the training-time auxiliary of Castling-ViT (CVPR 2023) that linear attention leans on, then loses.

    A = Softmax(q kᵀ/√D) on the un-normalised q and k,   M = 1[A > ε],   y = w · (M ⊙ A) v

Survivors are not renormalised, and no gradient flows through the comparison (both as released). The block has no
parameters, so one checkpoint serves the graph with and without it, and it runs in training mode only.

The paper says that the masks are regularised to become zero, the release (ε = 0.02, no schedule) does not say how.
Whatever empties the mask is a schedule here, on the threshold, on the branch's weight, or on both:
    fixed ε              epsilon: 0.02, weight: 1              (released; empties itself, or not)
    ε = c/N              epsilon: 1.5, unit: per_token         (a softmax row's maximum is at least 1/N: a fixed
                                                                 ε < 1/N masks nothing, so small N need this)
    annealed ε           epsilon: {start: 0.02, end: 1}        (ε = 1 masks everything)
    annealed weight      weight: {start: 1, end: 0}            (default: the switch to deployment is then no jump)
    top-k                top_k: 8                              (keeps each row's k largest above ε)
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from nas.blocks.base import Auxiliary, BlockConfig, Site, block
from nas.blocks.schedule import Schedule, Scheduled


@block("masked_softmax")
class MaskedSoftmax(Auxiliary):
    class Config(BlockConfig):
        block: Literal["masked_softmax"] = "masked_softmax"
        epsilon: Scheduled = Field(
            Schedule(start=0.02, end=0.02), description="threshold on attention weights; a number or a schedule"
        )
        unit: Literal["absolute", "per_token"] = Field(
            "absolute", description="of epsilon; per_token: in multiples of 1/N"
        )
        weight: Scheduled = Field(Schedule(start=1.0, end=0.0), description="of the branch; a number or a schedule")
        top_k: int | None = Field(
            None, ge=1, le=1_000_000, description="at most so many weights of a row stay; null: all above epsilon"
        )

    epsilon: Tensor
    weight: Tensor

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.config, self.scale = config, site.head_dim**-0.5
        self.divisor = site.tokens if config.unit == "per_token" else 1
        # Tensors rather than floats, so that a compiled graph is not recompiled at every step of the schedule.
        self.register_buffer("epsilon", torch.tensor(0.0), persistent=False)
        self.register_buffer("weight", torch.tensor(0.0), persistent=False)
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        self.epsilon.fill_(self.config.epsilon.value(progress) / self.divisor)
        self.weight.fill_(self.config.weight.value(progress))

    def forward(self, q_BNHD: Tensor, k_BNHD: Tensor, v_BNHD: Tensor) -> tuple[Tensor, Tensor]:
        """(y_BNHD, mass): mass is the mean over rows of w·Σ_j (M ⊙ A)_ij, 0 when the branch is empty."""
        q_BHND, k_BHND, v_BHND = (t.transpose(1, 2) for t in (q_BNHD, k_BNHD, v_BNHD))
        a_BHNN = ((q_BHND * self.scale) @ k_BHND.transpose(-2, -1)).softmax(-1)
        kept_BHNN = a_BHNN.masked_fill(a_BHNN <= self.epsilon, 0.0)
        if self.config.top_k is not None and self.config.top_k < a_BHNN.shape[-1]:
            least_BHN1 = a_BHNN.detach().topk(self.config.top_k, -1).values[..., -1:]
            kept_BHNN = kept_BHNN.masked_fill(a_BHNN < least_BHN1, 0.0)
        mass = (
            self.weight * kept_BHNN.detach().sum(-1, dtype=torch.promote_types(kept_BHNN.dtype, torch.float32)).mean()
        )
        return (self.weight.to(v_BHND.dtype) * (kept_BHNN @ v_BHND)).transpose(1, 2), mass
