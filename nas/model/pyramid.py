"""The model: stages of transformer layers, each with a patch-embedding convolution first; one stage is a plain ViT.

    image ─▶ [ conv patch embedding ─▶ + position ─▶ layers ] × stages ─▶ norm ─▶ mean, or class token ─▶ linear

Decisions:
- images of another shape than the genome's are refused, since those with as many tokens would fit a wrong grid;
- a convolution whose kernel equals its stride embeds patches and merges them between stages (PVT, LaViT); a larger
  kernel overlaps (PVTv2);
- position embeddings are learned, one table per stage, so a model has a fixed image size;
- the class token, if any, enters in the last stage (PVT; with one stage: ViT, DeiT);
- scores are reused within a stage only, as N changes between stages; an attention residual carries them across;
- tokens stay in (B, N, C) memory from the patch embedding to the head.

Legend: B batch, N tokens, C width, hw grid, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, overload

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nas.blocks import Auxiliary, Block, Scores
from nas.errors import DataError
from nas.genome import Genome
from nas.genome.layout import StagePlan
from nas.model.embed import Embed
from nas.model.layer import Attention, AttentionTrace, Carry, Layer, init_weights
from nas.model.residual import attention_residual
from nas.model.sequence import ModuleSequence


class Stage(nn.Module):
    """Patch embedding, position, layers: a feature map (B, C', h', w') to tokens (B, N, C)."""

    def __init__(self, plan: StagePlan, genome: Genome, *, first: bool, last: bool):
        super().__init__()
        self.grid, self.prefix = plan.grid, plan.prefix
        self.embed = Embed(plan, conv_stem=genome.stem == "conv" and first, norm=genome.embed_norm)
        self.residual = attention_residual(plan)
        self.token = nn.Parameter(torch.zeros(1, 1, plan.width)) if plan.prefix else None
        self.position = nn.Parameter(torch.zeros(1, plan.tokens, plan.width)) if genome.position == "absolute" else None
        self.layers: ModuleSequence[Layer] = ModuleSequence(
            Layer(layer, mlp=plan.mlp, qkv_bias=genome.qkv_bias, layer_scale=genome.layer_scale)
            for layer in plan.layers
        )
        self.norm = nn.LayerNorm(plan.width, eps=1e-6) if genome.stage_norm and not last else nn.Identity()
        self.grad_checkpointing = False
        for table in (self.token, self.position):
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
        if self.token is not None:
            x_BNC = torch.cat((self.token.expand(x_BNC.shape[0], -1, -1), x_BNC), 1)
        if self.position is not None:
            x_BNC = x_BNC + self.position
        return x_BNC, Carry(residual=self.residual(before) if self.residual is not None else None)

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
        self.norm: nn.Module = nn.LayerNorm(width, eps=1e-6)
        self.head: nn.Module = nn.Linear(width, genome.classes)
        self.apply(init_weights)

    @overload
    def forward(self, images_BCHW: Tensor, trace: Literal[False] = False) -> Tensor: ...
    @overload
    def forward(self, images_BCHW: Tensor, trace: Literal[True]) -> tuple[Tensor, AttentionTrace]: ...
    def forward(self, images_BCHW: Tensor, trace: bool = False) -> Tensor | tuple[Tensor, AttentionTrace]:
        noted = AttentionTrace() if trace else None
        logits_BK = self.forward_head(self.forward_features(images_BCHW, noted))
        return logits_BK if noted is None else (logits_BK, noted)

    def forward_features(self, images_BCHW: Tensor, trace: AttentionTrace | None = None) -> Tensor:
        """Normalised tokens of the last stage, (B, N, C)."""
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
        image, found = self.genome.image, tuple(x.shape)
        if found[1:] != (
            image.channels,
            image.size,
            image.size,
        ):  # static sizes: torch.export and compile see no branch
            wanted = f"(B, {image.channels}, {image.size}, {image.size})"
            raise DataError(f"the model takes images {wanted}, found {found}: resize them, or set_input_size(...)")
        return x

    def forward_head(self, x_BNC: Tensor) -> Tensor:
        """Logits (B, K) from the tokens of `forward_features`."""
        logits_BK: Tensor = self.head(self.pool(x_BNC))
        return logits_BK

    def pool(self, x_BNC: Tensor) -> Tensor:
        """One vector per image, (B, C): the class token, or the mean of all tokens."""
        return x_BNC[:, 0] if self.genome.pool == "token" else x_BNC.mean(1)

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

        These are position and class-token tables, and what blocks list in `undecayed`.
        """
        undecayed = {f"stages.{i}.{name}" for i in range(len(self.stages)) for name in ("token", "position")}
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
