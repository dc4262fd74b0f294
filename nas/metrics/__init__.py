"""What a genome is judged by: accuracy, cost by formula, time from a table; one file each, joined in `METRICS`.

nas/metrics/estimate.py asks all of them that can answer before a training.
"""

from nas.metrics.base import METRICS, Metric, metric, signs

__all__ = ["METRICS", "Metric", "metric", "signs"]
