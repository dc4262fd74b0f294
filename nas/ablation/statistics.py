"""Differences between arms, paired over the seeds that both have completed.

    Δ_s = accuracy(arm, s) − accuracy(baseline, s),   95 % interval: mean(Δ) ± t_{0.975, n−1} · std(Δ)/√n
    p: paired two-sided t-test, Holm-corrected over the arms of the table

The same seed gives both arms the same split, batches and initial numbers; pairing removes that noise from Δ. The test
is Student's t because a rank test with three seeds cannot give p below 0.25. One seed gives no interval. Neither do
seeds whose differences are all equal: accuracies are counts over N images, so two seeds may agree by chance, which
says nothing about the spread. All arms share one test set of N images, so a difference below its binomial standard
error √(a(1−a)/N) is small whatever the interval.

Holm's correction is written out here: scipy has none, and statsmodels would be a dependency for four lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Paired(NamedTuple):
    """Difference to the baseline, its 95 % interval, and p, in the unit of the arms; nan where there is no interval."""

    delta: float
    low: float
    high: float
    p: float


def paired(arm: Sequence[float], baseline: Sequence[float]) -> Paired:
    """The difference of two arms; both list the same seeds in the same order.

    >>> paired([0.7, 0.8, 0.9], [0.6, 0.7, 0.8]).delta
    0.1
    """
    differences = np.asarray(arm) - np.asarray(baseline)
    mean = float(differences.mean()) if len(differences) else float("nan")
    if len(differences) < 2 or np.ptp(differences) <= 1e-9 * max(1.0, float(np.abs([arm, baseline]).max())):
        return Paired(mean, float("nan"), float("nan"), float("nan"))
    test = stats.ttest_rel(arm, baseline)
    low, high = test.confidence_interval(0.95)
    return Paired(mean, float(low), float(high), float(test.pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; nan stays nan and does not count as a test.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    p = np.asarray(p_values, dtype=float)
    order = p.argsort()  # nan last
    remaining = np.count_nonzero(~np.isnan(p)) - np.arange(len(p))  # tests not yet rejected
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(np.maximum.accumulate(remaining * p[order]), 1)
    return [float(value) for value in corrected]


def binomial_floor(accuracy: float, images: int) -> float:
    """The standard error of an accuracy measured on `images` images."""
    return float(np.sqrt(accuracy * (1 - accuracy) / images))
