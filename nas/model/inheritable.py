"""Whether a genome can take the weights of a trained model: stages, widths, heads, strides and MLPs must be its own.

Depth, blocks, positions and, where its blocks fit any grid, the image size may be others (nas/model/inherit.py).
"""

from __future__ import annotations

import torch

from nas.blocks import registered
from nas.blocks.relative import RelativeBias
from nas.errors import GenomeError
from nas.genome import Genome
from nas.genome.layout import LayerPlan, StagePlan


def check_inheritable(genome: Genome, donor: Genome) -> None:
    """Raise GenomeError, with its key path, for the first part of the genome that the donor's weights do not fit."""
    wanted: list[tuple[str, object, object, str]] = [
        ("image.channels", genome.image.channels, donor.image.channels, "stages.0.embed.proj"),
        ("stages", len(genome.stages), len(donor.stages), f"stages.{min(len(genome.stages), len(donor.stages))}"),
    ]
    for i, (ours, theirs) in enumerate(zip(genome.layout, donor.layout, strict=False)):
        first, before = ours.layers[0], theirs.layers[0]
        path = f"stages.{i}"
        wanted += [
            (f"{path}.width", ours.width, theirs.width, f"{path}.embed.proj"),
            (f"{path}.patch", ours.stride, theirs.stride, f"{path}.embed.proj"),
            (f"{path}.kernel", ours.kernel, theirs.kernel, f"{path}.embed.proj"),
            (f"{path}.heads", first.site.heads, before.site.heads, f"{path}.layers.0.attention"),
            (f"{path}.mlp_ratio", first.hidden / ours.width, before.hidden / theirs.width, f"{path}.layers.0.mlp"),
        ]
        if "swiglu" in (ours.mlp, theirs.mlp):
            wanted.append((f"{path}.mlp", ours.mlp, theirs.mlp, f"{path}.layers.0.mlp"))
    wanted.append(("stem", genome.stem, donor.stem, "stages.0.embed.proj"))
    if len(genome.stages) > 1:
        wanted.append(("merging", genome.merging, donor.merging, "stages.1.embed"))
    for key, own, other, tensor in wanted:
        if own != other:
            message = f"{own} here and {other} in the model to start from, whose {tensor} does not fit"
            raise GenomeError(message, path=key)
    for ours, theirs in zip(genome.layout, donor.layout, strict=True):
        if tokens_of(ours) != tokens_of(theirs):
            for layer, before in zip(ours.layers, theirs.layers, strict=False):
                _check_grid(layer, before)


def tokens_of(plan: StagePlan) -> tuple[tuple[int, int], int]:
    """Grid and prefix tokens of a stage."""
    return plan.grid, plan.prefix


def _check_grid(layer: LayerPlan, before: LayerPlan) -> None:
    """Raise GenomeError if both layers have the same core, and its weights belong to the grid of one of them."""
    if layer.core != before.core:
        return
    core = registered("core")[layer.core.block]
    with torch.device("meta"):
        new, old = core(layer.core, layer.site), core(before.core, before.site)
    relative = {f"{name}.table" for name, module in new.named_modules() if isinstance(module, RelativeBias)}
    shapes = {name: tensor.shape for name, tensor in old.named_parameters()}
    for name, tensor in new.named_parameters():
        if name not in relative and shapes.get(name) != tensor.shape:
            message = (
                f"{layer.core.block} is tied to the {before.site.tokens} tokens of the model to start from by its "
                f"{name} {tuple(shapes[name])}, and here are {layer.site.tokens}; a block that fits any grid is "
                "needed (of less: transform conv or identity)"
            )
            raise GenomeError(message, path=f"{layer.name}.core")
