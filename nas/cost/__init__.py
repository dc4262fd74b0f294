"""What a genome costs: MACs and parameters by formula, images per second by stopwatch.

The package can be called: `nas.cost(genome)` is `nas.cost.cost(genome)`, whichever of the two was imported first.
"""

import sys
from types import ModuleType
from typing import Any

from nas.cost.formula import GenomeCost, LayerCost, cost
from nas.cost.stopwatch import Throughput, throughput, throughputs

__all__ = ["GenomeCost", "LayerCost", "Throughput", "cost", "throughput", "throughputs"]


class _CallablePackage(ModuleType):
    def __call__(self, source: Any) -> GenomeCost:
        return cost(source)


sys.modules[__name__].__class__ = _CallablePackage
