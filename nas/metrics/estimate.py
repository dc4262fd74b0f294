"""Costs of a genome before training: MACs, parameters, and each metric that is named.

    estimate = estimator(["accuracy", "throughput"], tables)      # of a search's objectives and budget
    estimate(genome)                                              # {"macs": ..., "params": ..., "throughput": ...}

Metrics with a formula are computed from the genome. Those with a table are predicted from the table of timings of their
batch size (nas/profiling/latency.py). Metrics that need training are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from nas.metrics.base import METRICS

if TYPE_CHECKING:
    from nas.genome import Genome
    from nas.profiling.latency import LatencyTable

ALWAYS = ("macs", "params")  # formulas that cost nothing

Costs = dict[str, float]
Estimate = Callable[["Genome"], Costs]


def estimator(names: Iterable[str] = (), tables: Mapping[int, LatencyTable] | None = None) -> Estimate:
    """The function from a genome to its costs by metric. tables: one for each batch size of `batch_sizes(names)`.

    >>> estimator()(load_genome("deit_tiny"))
    {'macs': 1253683200, 'params': 5717416}
    """
    metrics = [METRICS[name] for name in dict.fromkeys([*ALWAYS, *names]) if METRICS[name].budget]
    by_batch = tables or {}

    def estimate(genome: Genome) -> Costs:
        seconds = {size: table.seconds_of(genome) for size, table in by_batch.items()}
        return {each.name: each.of(genome if each.batch_size is None else seconds[each.batch_size]) for each in metrics}

    return estimate


def batch_sizes(names: Iterable[str]) -> list[int]:
    """Batch sizes of the tables of timings that these metrics need, the largest first."""
    return sorted({size for name in names if (size := METRICS[name].batch_size)}, reverse=True)
