"""What a genome is judged by: accuracy, cost by formula, speed from a table; one file each, joined in `METRICS`."""

from nas.metrics.base import METRICS, Metric, metric, signs

__all__ = ["METRICS", "Metric", "metric", "signs"]
