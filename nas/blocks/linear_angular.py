"""Linear-angular attention: softmax replaced by the linear part of the angular kernel (Castling-ViT, CVPR 2023).

    Sim(q, k) = 1 − θ/π = ½ + q̂·k̂/π + (higher odd powers of q̂·k̂),     q̂ = q/‖q‖, k̂ = k/‖k‖
    released block:  Y = ½ v + (1/π) q̂ (k̂ᵀ v),  then Y/‖Y‖ per token and head (before the local branch is added)

Complexity N·C·D instead of N²·C: the products cross at N = D, below that this core is the dearer one.
The masked softmax and the depthwise convolution that stand in for the dropped powers are blocks of their own.

Where the release and the mathematics part, both are here; the defaults are the release:
- `constant`: `own` ½v_i (released), `sum` ½Σ_j v_j (what the kernel's ½ means), `mean` ½·mean v, `none`.
- `normaliser`: `l2` Y/‖Y‖ (released), `row` division by Σ_j Sim(q_i, k_j) = N/2 + q̂·Σk̂/π ≥ 0.18 N (exact, and as
  cheap), `none`. `row` belongs with `sum`; other constants change the numerator alone and are refused.
- `centred`: the mean key of the image is subtracted from every key first. Softmax does not see a shift of all keys, a
  linear kernel does, and the keys of trained ViTs are far off centre (T⁵, arXiv 2605.02772). Default off, as released;
  on where this core takes over from softmax in a trained model.
- `kernel`: `linear`, or `exact`: the whole angular kernel 1 − θ/π, quadratic in N, as the reference.
Zero vectors stay zero (the release gives NaN); norms are taken in float32, which keeps float16 and bf16 finite. In
float16 a zero vector also has no gradient, which would be infinite there and turn to NaN in the projections.

What makes it faster than the equations written down: q, k and v are each copied once to heads-first memory, where norms
and batched products run at full speed (on strided views both do hidden copies); without gradients the copies are
overwritten; ½v rides on the second product.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, Site, block
from nas.blocks.scores import Scores
from nas.blocks.unit import inverse_norm, is_float16, unit
from nas.errors import GenomeError


@block("linear_angular")
class LinearAngular(Core):
    class Config(BlockConfig):
        block: Literal["linear_angular"] = "linear_angular"
        constant: Literal["own", "sum", "mean", "none"] = Field(
            "own", description="what stands for the kernel's ½: own ½v, sum ½Σv, mean ½·mean v"
        )
        normaliser: Literal["l2", "row", "none"] = Field(
            "l2", description="of the output: its norm, the sum of a row, none"
        )
        kernel: Literal["linear", "exact"] = Field(
            "linear", description="its linear part, or the whole one, quadratic in N"
        )
        centred: bool = Field(False, description="subtract the mean key of the image")

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.config, self.scale = config, site.head_dim**-0.5

    def forward(self, inputs: Inputs) -> tuple[Tensor, Scores]:
        q_BHND, k_BHND, v_BHND = inputs.heads_first()
        copies = (t.clone(memory_format=torch.contiguous_format) for t in (q_BHND, k_BHND, v_BHND))
        q_copy, k_copy, v_copy = copies
        if self.config.centred:
            k_copy = k_copy - k_copy.mean(-2, keepdim=True)
        mix = self._exact if self.config.kernel == "exact" else self._linear
        return mix(q_copy, k_copy, v_copy).transpose(1, 2), Scores(q_BHND, k_BHND, self.scale)

    def _linear(self, q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor) -> Tensor:
        q_BHND, k_BHND = _unit_of_copy(q_BHND), _unit_of_copy(k_BHND)
        kv_BHDD = k_BHND.transpose(-2, -1) @ v_BHND / math.pi
        if self.config.constant == "own":
            v_GND, q_GND, kv_GDD = (t.flatten(0, 1) for t in (v_BHND, q_BHND, kv_BHDD))
            over = None if torch.is_grad_enabled() else v_GND
            return torch.baddbmm(v_GND, q_GND, kv_GDD, beta=0.5, out=over).view_as(q_BHND)
        y_BHND = q_BHND @ kv_BHDD
        if self.config.constant == "sum":
            y_BHND = y_BHND + 0.5 * v_BHND.sum(-2, keepdim=True)
        elif self.config.constant == "mean":
            y_BHND = y_BHND + 0.5 * v_BHND.mean(-2, keepdim=True)
        if self.config.normaliser == "row":
            row_BHN1 = q_BHND @ k_BHND.sum(-2).unsqueeze(-1) / math.pi
            y_BHND = y_BHND / (row_BHN1 + 0.5 * k_BHND.shape[-2])
        return y_BHND

    def _exact(self, q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor) -> Tensor:
        cosine_BHNN = (unit(q_BHND) @ unit(k_BHND).transpose(-2, -1)).clamp(-1 + 1e-6, 1 - 1e-6)
        sim_BHNN = 1 - torch.acos(cosine_BHNN) / math.pi
        y_BHND = sim_BHNN @ v_BHND
        return y_BHND / sim_BHNN.sum(-1, keepdim=True) if self.config.normaliser == "row" else y_BHND

    def normalise(self, y_BNHD: Tensor) -> Tensor:
        if self.config.normaliser != "l2":
            return y_BNHD
        if is_float16(y_BNHD):
            scale_BNH1 = inverse_norm(y_BNHD)
        else:
            dtype = torch.promote_types(y_BNHD.dtype, torch.float32)
            norm_BNH1 = torch.linalg.vector_norm(y_BNHD, dim=-1, keepdim=True, dtype=dtype)
            scale_BNH1 = norm_BNH1.clamp_min(1e-6).reciprocal()
        # The first factor's memory order is the product's: (B, N, H, D), whatever that of y.
        unit_BNHD: Tensor = (scale_BNH1.contiguous() * y_BNHD).to(y_BNHD.dtype)
        return unit_BNHD

    @classmethod
    def check(cls, config: Config, site: Site) -> None:
        if (config.normaliser == "row" or config.kernel == "exact") and config.constant != "sum":
            raise GenomeError(
                f"normaliser: row and kernel: exact hold the kernel's own constant, that is constant: sum, "
                f"found {config.constant}",
                path="constant",
            )

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        if config.kernel == "exact":
            return Cost(2 * site.tokens**2 * site.width, 0)
        row = site.tokens * site.width if config.normaliser == "row" else 0
        return Cost(2 * site.tokens * site.width * site.head_dim + row, 0)


def _unit_of_copy(x: Tensor) -> Tensor:
    """`unit` of a tensor that nobody else reads: written over it where no gradient needs the values."""
    if torch.is_grad_enabled():
        return unit(x)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
    return x.div_(norm.clamp_min(1e-6))
