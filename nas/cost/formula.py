"""Cost by formula: integer MACs and parameters of the deployed graph, per layer, without building a model.

MACs are multiply-accumulates of matrix products and convolutions for one image, the quantity that vision papers call
FLOPs; softmax, norms, activations, additions are not counted. Equal to torch's FlopCounterMode / 2 on the `meta`
device (tests hold every preset and every block to that).

    patch embedding   h·w · k² · C_in · C         layer   N·C·(p + 1)·C + core + local + 2·N·C·hidden
    (p of q, k, v are projected; N = h·w + prefix tokens; head: C·classes)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from nas.blocks import BlockConfig, Cost, Site, registered
from nas.genome import Genome, load_genome
from nas.genome.layout import LayerPlan, StagePlan


@dataclass(frozen=True)
class LayerCost:
    """`name` is the module path: `stages.0.embed`, `stages.0.layers.1`, `head`."""

    name: str
    macs: int
    params: int


@dataclass(frozen=True)
class GenomeCost:
    """Totals and the layers they are the sum of."""

    macs: int
    params: int
    layers: tuple[LayerCost, ...]


def cost(source: str | Path | dict[str, Any] | Genome) -> GenomeCost:
    """MACs of one image's inference and parameters of the deployed model. Source as for `nas.build`.

    >>> cost("deit_tiny").macs
    1253683200
    """
    genome = load_genome(source)
    layers = []
    for stage in genome.layout:
        embed = _embed(stage, genome.position == "absolute")
        layers.append(LayerCost(f"{stage.name}.embed", *embed))
        for plan in stage.layers:
            layers.append(LayerCost(plan.name, *_layer(plan, genome.qkv_bias)))
    width = genome.layout[-1].width
    layers.append(LayerCost("head", width * genome.classes, (width + 1) * genome.classes + 2 * width))
    return GenomeCost(sum(part.macs for part in layers), sum(part.params for part in layers), tuple(layers))


def _embed(stage: StagePlan, position: bool) -> Cost:
    weights = stage.kernel**2 * stage.channels * stage.width
    tables = (stage.prefix + position * stage.tokens) * stage.width
    return Cost(stage.grid[0] * stage.grid[1] * weights, weights + stage.width + tables)


def _layer(plan: LayerPlan, qkv_bias: bool) -> Cost:
    total = _linears(
        plan.site, registered("core")[plan.core.block].projects(plan.core, plan.site), plan.hidden, qkv_bias
    )
    total += _block("core", plan.core, plan.site)
    return total + _block("local", plan.local, plan.site) if plan.local else total


@lru_cache(maxsize=65536)
def _block(slot: Any, config: BlockConfig, site: Site) -> Cost:
    return registered(slot)[config.block].cost(config, site)


def _linears(site: Site, projects: str, hidden: int, qkv_bias: bool) -> Cost:
    """Projections, MLP and norms. Layer scales are folded into the projections of the deployed graph."""
    c, p = site.width, len(projects)
    macs = site.tokens * c * ((p + 1) * c + 2 * hidden)
    params = p * c * (c + qkv_bias) + c * (c + 1) + c * hidden * 2 + hidden + c + 4 * c
    return Cost(macs, params)
