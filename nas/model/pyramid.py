"""The model: stages of transformer layers, each with a patch-embedding convolution first; one stage is a plain ViT.

    image ─▶ [ conv patch embedding ─▶ + position ─▶ layers ] × stages ─▶ norm ─▶ mean, or class token ─▶ linear

Decisions:
- images of another shape than the genome's are refused, since those with as many tokens would fit a wrong grid;
- a convolution whose kernel equals its stride embeds patches and merges them between stages (PVT, LaViT); a larger
  kernel overlaps (PVTv2);
- position embeddings are learned, one table per stage, so a model has a fixed image size;
- the class token and registers, if any, enter in the last stage (PVT; with one stage: ViT, DeiT), in this order: they
  are the prefix of the tokens;
- scores are reused within a stage only, as N changes between stages; an attention residual carries them across;
- tokens stay in (B, N, C) memory from the patch embedding to the head.

Legend: B batch, N tokens, C width, hw grid, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, overload

import torch
import torch.fx
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nas.blocks import Auxiliary, Block, Scores
from nas.errors import DataError
from nas.genome import Genome
from nas.genome.layout import StagePlan
from nas.model.embed import Embed, Merge
from nas.model.layer import Attention, AttentionTrace, Carry, Layer, init_weights
from nas.model.residual import attention_residual
from nas.model.rotary import Rotary
from nas.model.sequence import ModuleSequence

TABLES = ("token", "registers", "position")  # of a stage, added to tokens or put before them


class Stage(nn.Module):
    """Patch embedding, position, layers: a feature map (B, C', h', w') to tokens (B, N, C)."""

    def __init__(self, plan: StagePlan, genome: Genome, *, first: bool, last: bool):
        super().__init__()
        self.grid, self.prefix = plan.grid, plan.prefix
        conv_stem, merged = genome.stem == "conv" and first, genome.merging == "normed" and not first
        self.embed: nn.Module = Merge(plan) if merged else Embed(plan, conv_stem, genome.embed_norm, genome.embed_bias)
        self.residual = attention_residual(plan)
        registers = genome.registers if plan.prefix else 0
        self.token, self.registers, self.position = (
            nn.Parameter(torch.zeros(1, rows, plan.width)) if rows else None
            for rows in (plan.prefix - registers, registers, position_rows(plan, genome))
        )
        self.embeds_prefix = genome.position == "absolute"
        head_dim = plan.layers[0].site.head_dim
        self.rotary = Rotary(plan.grid, plan.prefix, head_dim, genome.rotary.temperature) if genome.rotary else None
        self.norm_pre = nn.LayerNorm(plan.width, genome.norm_eps) if genome.norm_pre else nn.Identity()
        self.layers: ModuleSequence[Layer] = ModuleSequence(Layer(layer, plan.mlp, genome) for layer in plan.layers)
        self.norm = nn.LayerNorm(plan.width, genome.norm_eps) if genome.stage_norm and not last else nn.Identity()
        self.grad_checkpointing = False
        for table in (self.token, self.position, self.registers):
            if table is not None:
                nn.init.trunc_normal_(table, std=0.02)

    def forward(
        self, x_BChw: Tensor, before: Scores | None = None, trace: AttentionTrace | None = None
    ) -> tuple[Tensor, Scores | None]:
        """Returns tokens and last scores. before: the last scores of the stage before, for the attention residual."""
        x_BNC, carry = self.enter(x_BChw, before)
        for layer in self.layers:
            x_BNC, carry = self.step(layer, x_BNC, carry, trace)
        return self.norm(x_BNC), carry.scores

    def enter(self, x_BChw: Tensor, before: Scores | None) -> tuple[Tensor, Carry]:
        """The input of the first layer."""
        x_BNC = self.embed(x_BChw)
        if self.position is not None and not self.embeds_prefix:
            x_BNC = x_BNC + self.position
        prefix = [table.expand(x_BNC.shape[0], -1, -1) for table in (self.token, self.registers) if table is not None]
        if prefix:
            x_BNC = torch.cat((*prefix, x_BNC), 1)
        if self.position is not None and self.embeds_prefix:
            x_BNC = x_BNC + self.position
        residual = self.residual(before) if self.residual is not None else None
        return self.norm_pre(x_BNC), Carry(residual=residual, turn=self.rotary() if self.rotary is not None else None)

    def step(self, layer: Layer, x_BNC: Tensor, carry: Carry, trace: AttentionTrace | None) -> tuple[Tensor, Carry]:
        """One layer; with gradient checkpointing, its activations are recomputed in the backward pass."""
        stepped: tuple[Tensor, Carry]
        if self.grad_checkpointing and torch.is_grad_enabled():
            stepped = checkpoint(layer, x_BNC, carry, trace, use_reentrant=False)
        else:
            stepped = layer(x_BNC, carry, trace)
        return stepped

    def image(self, x_BNC: Tensor) -> Tensor:
        """Tokens as a feature map (B, C, h, w), without prefix tokens."""
        return torch.unflatten(x_BNC[:, self.prefix :].transpose(1, 2), 2, self.grid)


@torch.fx.wrap  # torch.fx keeps the call whole; for torch.export and compile the sizes are constants
def of_shape(images_BCHW: Tensor, channels: int, size: int) -> Tensor:
    """The images. Raises DataError for those of another shape than (B, channels, size, size)."""
    found = tuple(images_BCHW.shape)
    if found[1:] != (channels, size, size):
        wanted = f"(B, {channels}, {size}, {size})"
        raise DataError(f"the model takes images {wanted}, found {found}: resize them, or set_input_size(...)")
    return images_BCHW


def position_rows(plan: StagePlan, genome: Genome) -> int:
    """Rows of a stage's table of positions: of all tokens, of patch tokens alone, or none."""
    return {"absolute": plan.tokens, "grid": plan.tokens - plan.prefix, "none": 0}[genome.position]


class Model(nn.Module):
    """A classifier built from a genome: `logits_BK = model(images_BCHW)`.

    With `trace=True` it returns `(logits_BK, trace)`; see `AttentionTrace`.
    """

    def __init__(self, genome: Genome):
        super().__init__()
        self.genome = genome
        last = len(genome.stages) - 1
        self.stages: ModuleSequence[Stage] = ModuleSequence(
            Stage(plan, genome, first=i == 0, last=i == last) for i, plan in enumerate(genome.layout)
        )
        width = genome.layout[-1].width
        norm, pooled = nn.LayerNorm(width, genome.norm_eps), genome.last_norm == "pooled"
        self.norm: nn.Module = nn.Identity() if pooled else norm
        self.head_norm: nn.Module = norm if pooled else nn.Identity()
        self.head: nn.Module = nn.Linear(width, genome.classes)
        self.apply(init_weights)

    @overload
    def forward(self, images_BCHW: Tensor, trace: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, images_BCHW: Tensor, trace: Literal[True]) -> tuple[Tensor, AttentionTrace]: ...
    def forward(self, images_BCHW: Tensor, trace: bool = False) -> Tensor | tuple[Tensor, AttentionTrace]:
        noted = AttentionTrace() if trace is True else None  # under torch.fx it is a proxy, which has no truth value
        logits_BK = self.forward_head(self.forward_features(images_BCHW, noted))
        return logits_BK if noted is None else (logits_BK, noted)

    def forward_features(self, images_BCHW: Tensor, trace: AttentionTrace | None = None) -> Tensor:
        """Tokens of the last stage, (B, N, C), behind the last norm unless that is one of the pooled vector."""
        x, scores = images_BCHW, None
        for index, stage in enumerate(self.stages):
            x, scores = stage(self.stage_input(index, x), scores, trace)
        tokens_BNC: Tensor = self.norm(x)
        return tokens_BNC

    def stage_input(self, index: int, x: Tensor) -> Tensor:
        """The input of stage `index`: the images, or the tokens of the stage before as a feature map (B, C, h, w).

        Raises DataError for images of another shape than the genome's.
        """
        if index > 0:
            return self.stages[index - 1].image(x)
        return of_shape(x, self.genome.image.channels, self.genome.image.size)

    def forward_head(self, x_BNC: Tensor) -> Tensor:
        """Logits (B, K) from the tokens of `forward_features`."""
        logits_BK: Tensor = self.head(self.head_norm(self.pool(x_BNC)))
        return logits_BK

    def pool(self, x_BNC: Tensor) -> Tensor:
        """One vector per image, (B, C): the class token, or the mean of the patch tokens."""
        return x_BNC[:, 0] if self.genome.pool == "token" else x_BNC[:, self.stages[-1].prefix :].mean(1)

    @property
    def has_auxiliaries(self) -> bool:
        return any(isinstance(module, Auxiliary) for module in self.modules())

    def set_progress(self, progress: float) -> None:
        """Set the schedules of the auxiliaries to a training progress in [0, 1]."""
        for module in self.modules():
            if isinstance(module, Auxiliary):
                module.set_progress(progress)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay (timm's convention).

        These are the tables of positions, class token and registers, and what blocks list in `undecayed`.
        """
        undecayed = {f"stages.{i}.{name}" for i in range(len(self.stages)) for name in TABLES}
        for path, module in self.named_modules():
            if isinstance(module, Block):
                undecayed |= {
                    f"{path}.{name}" for name, _ in module.named_parameters() if name.startswith(module.undecayed)
                }
        return undecayed & {name for name, _ in self.named_parameters()}


@contextmanager
def auxiliaries_on(model: nn.Module) -> Iterator[None]:
    """Run auxiliaries in eval mode as well, to measure the accuracy before the switch to the deployed graph."""
    attentions = [module for module in model.modules() if isinstance(module, Attention)]
    for attention in attentions:
        attention.auxiliary_in_eval = True
    try:
        yield
    finally:
        for attention in attentions:
            attention.auxiliary_in_eval = False
