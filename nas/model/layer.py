"""A pre-norm transformer layer: attention with three slots, and an MLP.

    x = x + drop( γ₁ · proj( normalise( core(q, k, v) + auxiliary(q, k, v) ) + local(v) ) )
    x = x + drop( γ₂ · MLP(norm(x)) )

A layer projects only those of q, k, v that its core uses: an LA layer has a `Linear(C, C)` for v where a VA layer has
`Linear(C, 3C)`. Where it projects q and k, a genome may norm them by head (`qk_norm`) and then rotate them (`rotary`):
every block sees the result, and so do the layers that reuse its scores. The auxiliary runs in training mode only
(`auxiliary_in_eval` is for measuring the switch). The core's scores are passed to the next layer of the stage, and
recorded if a trace is given.

Legend: B batch, N tokens, C width, H heads, D = C/H.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nas.blocks import Auxiliary, Scores, registered
from nas.blocks.base import Inputs
from nas.genome import Genome
from nas.genome.layout import LayerPlan
from nas.model.branch import DropPath, LayerScale
from nas.model.mlp import Mlp
from nas.model.rotary import Turn


@dataclass
class AttentionTrace:
    """Intermediates of one forward pass, by the name of the layer (`stages.1.layers.2`), for layers that have them.

    scores: as the core passes them on. mask_mass: 0-d tensor, the attention mass in the auxiliary. hidden: the tokens
    (B, N, C) that the layer passes on.
    """

    scores: dict[str, Scores] = field(default_factory=dict)
    mask_mass: dict[str, Tensor] = field(default_factory=dict)
    hidden: dict[str, Tensor] = field(default_factory=dict)


class Carry(NamedTuple):
    """What layers of a stage pass on besides the tokens (see `Inputs` for the first three)."""

    scores: Scores | None = None
    mixed_BNC: Tensor | None = None
    residual: Scores | None = None
    turn: Turn | None = None  # of queries and keys, with rotary positions


class Attention(nn.Module):
    """Token mixing of one layer: projections, the three slots, merged heads, output projection."""

    def __init__(self, plan: LayerPlan, genome: Genome):
        super().__init__()
        site = plan.site
        core = registered("core")[plan.core.block]
        self.heads, self.head_dim = site.heads, site.head_dim
        self.projects = core.projects(plan.core, site)
        rows = len(self.projects) * site.width
        self.qkv = nn.Linear(site.width, rows, bias=genome.qkv_bias) if self.projects else None
        normed = genome.qk_norm and "k" in self.projects
        self.q_norm, self.k_norm = (nn.LayerNorm(site.head_dim, genome.norm_eps) if normed else None for _ in "qk")
        self.core = core(plan.core, site)
        self.auxiliary: Auxiliary | None = (
            registered("auxiliary")[plan.auxiliary.block](plan.auxiliary, site) if plan.auxiliary else None
        )
        self.local = registered("local")[plan.local.block](plan.local, site) if plan.local else None
        self.proj = nn.Linear(site.width, site.width) if core.projects_out else nn.Identity()
        self.auxiliary_in_eval = False

    def forward(self, x_BNC: Tensor, carry: Carry) -> tuple[Tensor, Scores | None, Tensor | None]:
        """Returns y_BNC, the scores for the next layer, and the attention mass in the auxiliary if it ran."""
        mixed_BNC, scores, mass = self.mix(x_BNC, carry)
        return self.proj(mixed_BNC), scores, mass

    def mix(self, x_BNC: Tensor, carry: Carry) -> tuple[Tensor, Scores | None, Tensor | None]:
        """`forward` without the output projection."""
        parts: dict[str, Tensor] = {}
        if self.qkv is not None:
            shape = (len(self.projects), self.heads, self.head_dim)
            projected_BNPHD = self.qkv(x_BNC).unflatten(2, shape)
            slices = projected_BNPHD.unbind(2)  # whose gradients are written into one tensor, once
            parts = {part: slices[number] for number, part in enumerate(self.projects)}  # torch.fx cannot iterate
        if self.q_norm is not None and self.k_norm is not None:
            parts |= {"q": self.q_norm(parts["q"]), "k": self.k_norm(parts["k"])}
        if carry.turn is not None and "k" in parts:
            parts |= {"q": carry.turn(parts["q"]), "k": carry.turn(parts["k"])}
        inputs = Inputs(x_BNC, parts, carry.scores, carry.mixed_BNC, carry.residual)
        y_BNHD, scores = self.core(inputs)
        mass = None
        if self.auxiliary is not None and (self.training or self.auxiliary_in_eval):
            extra_BNHD, mass = self.auxiliary(inputs.q_BNHD, inputs.k_BNHD, inputs.v_BNHD)
            y_BNHD = y_BNHD + extra_BNHD
        y_BNHD = self.core.normalise(y_BNHD)
        if self.local is not None:
            y_BNHD = y_BNHD + self.local(inputs.v_BNHD)
        return y_BNHD.flatten(2), scores, mass


class Layer(nn.Module):
    """Attention and MLP, each with a norm before it and a residual connection."""

    def __init__(self, plan: LayerPlan, mlp: str, genome: Genome):
        super().__init__()
        width, eps, layer_scale = plan.site.width, genome.norm_eps, genome.layer_scale
        self.name = plan.name
        reads_tokens = registered("core")[plan.core.block].needs != "mixed"
        self.norm1: nn.Module = nn.LayerNorm(width, eps) if reads_tokens else nn.Identity()
        self.attention = Attention(plan, genome)
        self.scale1: nn.Module = LayerScale(width, layer_scale) if layer_scale else nn.Identity()
        self.drop1: nn.Module = DropPath(plan.drop_path) if plan.drop_path else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps)
        self.mlp = Mlp(mlp, width, plan.hidden, plan.site)
        self.scale2: nn.Module = LayerScale(width, layer_scale) if layer_scale else nn.Identity()
        self.drop2: nn.Module = DropPath(plan.drop_path) if plan.drop_path else nn.Identity()

    def forward(self, x_BNC: Tensor, carry: Carry, trace: AttentionTrace | None = None) -> tuple[Tensor, Carry]:
        y_BNC, made, mass = self.attention(self.norm1(x_BNC), carry)
        if trace is not None:
            if made is not None:
                trace.scores[self.name] = made
            if mass is not None:
                trace.mask_mass[self.name] = mass
        x_BNC = x_BNC + self.drop1(self.scale1(y_BNC))
        x_BNC = x_BNC + self.drop2(self.scale2(self.mlp(self.norm2(x_BNC))))
        if trace is not None:
            trace.hidden[self.name] = x_BNC
        return x_BNC, Carry(made or carry.scores, y_BNC, turn=carry.turn)


def init_weights(module: nn.Module) -> None:
    """Truncated normal 0.02 for linear weights, zero biases, as in DeiT and PVT; blocks initialise themselves."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            torch.nn.init.zeros_(module.bias)
