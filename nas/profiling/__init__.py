"""What a genome costs: MACs and parameters by formula, memory by tracing shapes, time by stopwatch and by table."""

from nas.profiling.formula import GenomeCost, LayerCost, cost
from nas.profiling.stopwatch import Throughput, throughput, throughputs

__all__ = ["GenomeCost", "LayerCost", "Throughput", "cost", "throughput", "throughputs"]
