"""Metrics of a genome: accuracy, cost by formula, speed from a table; one file each, registered in `METRICS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.metrics.base import METRICS, Metric, metric, signs

if TYPE_CHECKING:
    from nas.metrics.estimate import Costs, Estimate, batch_sizes, estimator

__all__ = ["METRICS", "Costs", "Estimate", "Metric", "batch_sizes", "estimator", "metric", "signs"]


def __getattr__(name: str) -> Any:
    if name in ("Costs", "Estimate", "batch_sizes", "estimator"):
        from nas.metrics import estimate  # brings in genomes, and torch with them

        return getattr(estimate, name)
    raise AttributeError(f"module 'nas.metrics' has no attribute {name!r}")
