"""Change of resolution: a model's stages are built anew for the new image size, and their weights are copied.

Position tables and relative biases are interpolated (bicubic). Blocks with a fixed number of tokens (the N×N maps of
`less`) or that do not divide the new grid are refused by name.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas.blocks.relative import RelativeBias
from nas.errors import GenomeError
from nas.genome import Genome
from nas.model.pyramid import Model, Stage
from nas.model.resize import resized_position, resized_relative
from nas.model.sequence import ModuleSequence


@torch.no_grad()
def stages_at(genome: Genome, model: Model) -> ModuleSequence[Stage]:
    """The stages of `model`, weights and state included, for a `genome` that differs from its own in the image size.

    Layers that the model has lost (`prune_intermediate_layers`) are left out. Raises GenomeError where a layer cannot
    take another resolution.
    """
    stages = Model(genome).stages[: len(model.stages)]
    for index, stage in enumerate(model.stages):
        stages[index].layers = stages[index].layers[: len(stage.layers)]
    old, new = model.stages.state_dict(), stages.state_dict()
    if old.keys() != new.keys():
        raise GenomeError("a deployed model keeps its resolution: move the model first, then deploy it")
    stages.load_state_dict({name: _resized(name, old[name], tensor, model, genome) for name, tensor in new.items()})
    trained = {name: parameter.requires_grad for name, parameter in model.stages.named_parameters()}
    for name, parameter in stages.named_parameters():
        parameter.requires_grad_(trained[name])
    for before, after in zip(model.stages, stages, strict=True):
        after.grad_checkpointing = before.grad_checkpointing
    like = next(model.parameters())
    return stages.to(like.device, like.dtype).train(model.training)


def _resized(name: str, old: Tensor, new: Tensor, model: Model, genome: Genome) -> Tensor:
    """The tensor `name` of the model's stages (as `0.position`), with the shape that it has under `genome`."""
    if old.shape == new.shape:
        return old
    owner, _, leaf = name.rpartition(".")
    index = int(name.split(".")[0])
    before, after = model.genome.layout[index], genome.layout[index]
    if leaf == "position":
        return resized_position(old, before, after)
    if isinstance(model.stages.get_submodule(owner), RelativeBias):
        return resized_relative(old, len(new))
    inner = ".".join(name.split(".")[3:])  # within its layer
    layer = before.layers[int(name.split(".")[2])]
    raise GenomeError(
        f"{layer.core.block} is tied to {before.tokens} tokens by {inner} {tuple(old.shape)}, and images of "
        f"{genome.image.size} pixels have {after.tokens} here; a block that any resolution fits is needed (of less: "
        "transform conv or identity)",
        path=layer.name,
    )
