"""Costs of a genome before training: MACs, parameters, and each metric that is named.

    estimate = estimator(["accuracy", "throughput"], tables)      # of a search's objectives and budget
    estimate(genome)                                              # {"macs": ..., "params": ..., "throughput": ...}

Metrics with a formula are computed from the genome. Those with a table are predicted from the table of timings of their
batch size (nas/profiling/latency.py). Metrics that need training are left out. With a table of another device
(nas/profiling/target.py), latency is that of one batch there; other metrics stay those of this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from nas.metrics.base import METRICS, Metric

if TYPE_CHECKING:
    from nas.genome import Genome
    from nas.profiling.latency import LatencyTable

ALWAYS = ("macs", "params")  # formulas that cost nothing
ON_TARGET = "latency"  # the metric that a table of another device predicts
TARGET = "target.json"  # in a run: its copy of that table

Costs = dict[str, float]
Estimate = Callable[["Genome"], Costs]


def estimator(
    names: Iterable[str] = (),
    tables: Mapping[int, LatencyTable] | None = None,
    *,
    target: LatencyTable | None = None,
) -> Estimate:
    """The function from a genome to its costs by metric. tables: one for each batch size of `batch_sizes(names)`.

    target: a table of another device, by which latency is predicted; it raises GenomeError for a part that it lacks.

    >>> estimator()(load_genome("deit_tiny"))
    {'macs': 1253683200, 'params': 5717416}
    """
    metrics = [METRICS[name] for name in dict.fromkeys([*ALWAYS, *names]) if METRICS[name].budget]
    by_batch = tables or {}

    def estimate(genome: Genome) -> Costs:
        seconds = {size: table.seconds_of(genome) for size, table in by_batch.items()}
        there = target.seconds_of(genome) if target is not None else None

        def argument(of: Metric) -> Genome | float:
            if of.batch_size is None:
                return genome
            return there if there is not None and of.name == ON_TARGET else seconds[of.batch_size]

        return {each.name: each.of(argument(each)) for each in metrics}

    return estimate


def batch_sizes(names: Iterable[str]) -> list[int]:
    """Batch sizes of the tables of timings that these metrics need, the largest first."""
    return sorted({size for name in names if (size := METRICS[name].batch_size)}, reverse=True)
