"""Cost of a genome: MACs and parameters by formula, memory by shape propagation, time by stopwatch and by table."""

from nas.profiling.by_layer import TimesByLayer, predicted_by_layer, times_by_layer
from nas.profiling.formula import GenomeCost, LayerCost, cost
from nas.profiling.latency import LatencyTable, known_parts, missing
from nas.profiling.parts import deployed_graph
from nas.profiling.stopwatch import Throughput, disturbance, throughput, throughputs
from nas.profiling.tables import covering, run_tables, table_file
from nas.profiling.target import TargetTable

__all__ = [
    "GenomeCost",
    "LatencyTable",
    "LayerCost",
    "TargetTable",
    "Throughput",
    "TimesByLayer",
    "cost",
    "covering",
    "deployed_graph",
    "disturbance",
    "known_parts",
    "missing",
    "predicted_by_layer",
    "run_tables",
    "table_file",
    "throughput",
    "throughputs",
    "times_by_layer",
]
