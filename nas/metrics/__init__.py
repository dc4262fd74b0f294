"""Metrics of a genome: accuracy, cost by formula, time from a table; one file each, registered in `METRICS`."""

from nas.metrics.base import METRICS, Metric, metric, signs

__all__ = ["METRICS", "Metric", "metric", "signs"]
