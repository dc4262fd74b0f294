"""Metrics of a genome: accuracy, cost by formula, speed from a table; one file each, registered in `METRICS`."""

from __future__ import annotations

from nas.metrics.base import METRICS, Metric, known_objectives, metric, signs
from nas.metrics.estimate import ON_TARGET, TARGET, Costs, Estimate, batch_sizes, estimator

__all__ = [
    "METRICS",
    "ON_TARGET",
    "TARGET",
    "Costs",
    "Estimate",
    "Metric",
    "batch_sizes",
    "estimator",
    "known_objectives",
    "metric",
    "signs",
]
