"""A genome as its stack of layers: for each row its name, what it is, and what it costs.

    {"name": "stages.0.layers.1", "what": "less (rank 2)", "macs": 142_000, "params": 8_514}

The rows are those of `nas.cost(genome).layers`: a stage's embedding, its attention residual, its layers; the head.
"""

from __future__ import annotations

from typing import Any

from nas.blocks import BlockConfig
from nas.genome import Genome
from nas.genome.layout import LayerPlan
from nas.paths import flat
from nas.profiling.formula import cost

Seconds = dict[str, float]  # of one batch, by the name of the row (nas/profiling/by_layer.py)


def stack_data(genome: Genome, seconds: Seconds | None = None) -> dict[str, Any]:
    """Name, hash, cost, and for each row of the stack its name, what it is, MACs, parameters and, if timed, seconds.

    >>> stack_data(load_genome("lavit_digits"))["layers"][1]["what"]
    'softmax'
    """
    total, words = cost(genome), row_words(genome)
    layers = [layer._asdict() | {"what": words[layer.name]} for layer in total.layers]
    if seconds is not None:
        layers = [layer | {"seconds": seconds.get(layer["name"])} for layer in layers]
    return {"name": genome.name, "hash": genome.hash, "macs": total.macs, "params": total.params, "layers": layers}


def row_words(genome: Genome) -> dict[str, str]:
    """By the name of each row of the stack, what it is."""
    words: dict[str, str] = {}
    for stage in genome.layout:
        side = f"{stage.kernel}×{stage.kernel}"
        words[f"{stage.name}.embed"] = (
            f"{side} patches" if stage.kernel == stage.stride else f"{side}, stride {stage.stride}"
        )
        words[f"{stage.name}.residual"] = f"attention residual, {stage.attention_residual}"
        words |= {layer.name: _layer_words(layer) for layer in stage.layers}
    return words | {"head": f"{genome.classes} classes, pool {genome.pool}"}


def value_words(value: Any) -> str:
    """A key's value, for people."""
    return "not set" if value is None else str(value)


def _layer_words(layer: LayerPlan) -> str:
    parts = (layer.core, layer.auxiliary, layer.local)
    return " + ".join(_block_words(part) for part in parts if part is not None)


def _block_words(config: BlockConfig) -> str:
    """`less (rank 2, transform low_rank)`: a block with its options that are not at their defaults."""
    chosen = flat(config.model_dump(mode="json", exclude_defaults=True), free=("block",))
    options = ", ".join(f"{key} {value_words(value)}" for key, value in chosen.items() if key != "block")
    return f"{config.block} ({options})" if options else config.block
