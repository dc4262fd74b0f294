"""Cost by formula: MACs and parameters of the deployed graph, per layer, without building a model.

MACs are multiply-accumulates of matrix products and convolutions for one image, the quantity that vision papers call
FLOPs; softmax, norms, activations and additions are not counted. They equal torch's FlopCounterMode / 2 on the `meta`
device, which the tests check for every preset and every block.

    patch embedding   h·w · k² · C_in · C         layer   N·C·(p + 1)·C + core + local + 2·N·C·hidden
    (p: how many of q, k, v are projected; + 1: the output projection, which some cores lack; N = h·w + prefix tokens;
    head: C·classes)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from nas.blocks import BlockConfig, Core, Cost, Site, registered
from nas.blocks.base import Slot
from nas.genome import Genome, load_genome
from nas.genome.layout import LayerPlan, StagePlan
from nas.model.embed import stem_widths
from nas.model.pyramid import position_rows
from nas.model.residual import attention_residual_cost


class LayerCost(NamedTuple):
    """`name` is the module path: `stages.0.embed`, `stages.0.layers.1`, `head`."""

    name: str
    macs: int
    params: int


@dataclass(frozen=True)
class GenomeCost:
    """Totals, and the layers that they are the sums of."""

    macs: int
    params: int
    layers: tuple[LayerCost, ...]


def cost(genome: str | Path | dict[str, Any] | Genome) -> GenomeCost:
    """MACs of inference on one image, and parameters, of the deployed model. The genome is given as for `nas.build`.

    >>> cost("deit_tiny").macs
    1253683200
    """
    genome = load_genome(genome)
    layers = []
    for stage in genome.layout:
        layers.append(LayerCost(f"{stage.name}.embed", *_embed(stage, genome)))
        if stage.source is not None:
            layers.append(LayerCost(f"{stage.name}.residual", *attention_residual_cost(stage)))
        known: dict[Any, Cost] = {}  # equal layers of a run share their config objects
        for plan, after in zip_longest(stage.layers, stage.layers[1:]):
            reused = after is not None and _core(after.core.block).needs == "mixed"
            key = (id(plan.core), id(plan.local), reused, plan.site)
            if key not in known:
                known[key] = _layer(plan, reused, stage.mlp, genome)
            layers.append(LayerCost(plan.name, *known[key]))
    width = genome.layout[-1].width
    layers.append(LayerCost("head", width * genome.classes, (width + 1) * genome.classes + 2 * width))
    return GenomeCost(sum(part.macs for part in layers), sum(part.params for part in layers), tuple(layers))


def _embed(stage: StagePlan, genome: Genome) -> Cost:
    """Patch embedding with its norm, class token and position, and the norm at the stage's end."""
    is_first, is_last = stage.name == "stages.0", stage.name == f"stages.{len(genome.stages) - 1}"
    pixels, merged = stage.grid[0] * stage.grid[1], genome.merging == "normed" and not is_first
    if genome.stem == "conv" and is_first:
        widths = stem_widths(stage)
        weights = [9 * before * after for before, after in pairwise(widths)]
        macs = sum(w * pixels * 4**i for i, w in enumerate(reversed(weights)))
        params = sum(weights) + sum(widths[1:])  # batch norms are folded into biases
    else:
        patch = stage.kernel**2 * stage.channels
        params = patch * stage.width
        macs = pixels * params
        params += 2 * patch if merged else genome.embed_bias * stage.width
    tables = stage.prefix + position_rows(stage, genome)
    norms = 2 * ((genome.embed_norm and not merged) + genome.norm_pre + (genome.stage_norm and not is_last))
    return Cost(macs, params + (tables + norms) * stage.width)


def _layer(plan: LayerPlan, reused: bool, mlp: str, genome: Genome) -> Cost:
    """reused: the next layer takes the output of this layer's attention."""
    core = _core(plan.core.block)
    projected = len(core.projects(plan.core, plan.site))
    total = _linears(plan.site, projected, core.projects_out, plan.hidden, genome.qkv_bias)
    if mlp == "swiglu":
        width, hidden = plan.site.width, plan.hidden
        total += Cost(plan.site.tokens * width * hidden, (width + 1) * hidden)
    if genome.qk_norm and projected > 1:
        total += Cost(0, 4 * plan.site.head_dim)
    total += _block("core", plan.core, plan.site)
    if plan.local:
        total += _block("local", plan.local, plan.site)
    if mlp in ("depthwise", "relu_depthwise"):
        total += Cost(9 * (plan.site.tokens - plan.site.prefix) * plan.hidden, 10 * plan.hidden)
    if core.needs == "mixed":
        total += Cost(0, -2 * plan.site.width)  # no first norm: the core does not read the tokens
    if genome.layer_scale and (reused or not core.projects_out):
        total += Cost(0, plan.site.width)  # the scale is not folded into the output projection
    return total


@cache
def _core(name: str) -> type[Core]:
    core: type[Core] = registered("core")[name]
    return core


@lru_cache(maxsize=65536)
def _block(slot: Slot, config: BlockConfig, site: Site) -> Cost:
    found: Cost = registered(slot)[config.block].cost(config, site)
    return found


def _linears(site: Site, projected: int, out: bool, hidden: int, qkv_bias: bool) -> Cost:
    """Projections, MLP and norms. Layer scales are folded into the projections of the deployed graph."""
    c = site.width
    macs = site.tokens * c * ((projected + out) * c + 2 * hidden)
    params = projected * c * (c + qkv_bias) + out * c * (c + 1) + c * hidden * 2 + hidden + c + 4 * c
    return Cost(macs, params)
