"""A genome in one line, for tables: runs of equal layers, a bar between stages, then the diagonal loss if it is on.

softmax ×2, less ×2 | softmax, less ×3; diagonal hinge 0.01
"""

from __future__ import annotations

from itertools import groupby

from nas.genome.layout import LayerPlan
from nas.genome.schema import Genome


def describe(genome: Genome) -> str:
    """The blocks of the layers of `genome`, in one line."""
    stages = []
    for stage in genome.layout:
        runs = [(label, len(list(layers))) for label, layers in groupby(stage.layers, _label)]
        stages.append(", ".join(label if count == 1 else f"{label} ×{count}" for label, count in runs))
    diagonal = genome.loss.diagonal
    ending = f"; diagonal {diagonal.variant} {diagonal.weight:.2g}" if diagonal.active else ""
    return " | ".join(stages) + ending


def _label(layer: LayerPlan) -> str:
    parts = (layer.core, layer.auxiliary, layer.local)
    return " + ".join(part.block for part in parts if part is not None)
