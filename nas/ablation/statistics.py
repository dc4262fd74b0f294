"""What a difference between arms is worth: paired over the seeds that both share.

    Δ_s = accuracy(arm, s) − accuracy(baseline, s),   95 % interval: mean(Δ) ± t_{0.975, n−1} · std(Δ)/√n
    p: paired two-sided t-test, Holm-corrected over the arms of the table

The same seed gives both arms the same split, the same batches and the same initial numbers, which takes that noise out
of Δ. The t-test is used because a rank test cannot fall below p = 0.25 with three seeds; with one seed there is no
interval, and none is made up. Nor is there one where all seeds agree to the last digit: accuracies are counts over N
images, so with two seeds that is a matter of luck and says nothing about the spread. Differences within the binomial
floor √(a(1−a)/N) of a test set of N images are small whatever the seeds say, since all arms share that set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats


class Paired(NamedTuple):
    """Difference to the baseline, as a fraction; `low` and `high` bound it at 95 %, nan with fewer than two seeds."""

    delta: float
    low: float
    high: float
    p: float


def paired(arm: Sequence[float], baseline: Sequence[float]) -> Paired:
    """The difference of two arms over the same seeds, in the same order.

    >>> paired([0.7, 0.8, 0.9], [0.6, 0.7, 0.8]).delta
    0.1
    """
    differences = np.asarray(arm) - np.asarray(baseline)
    mean = float(differences.mean()) if len(differences) else float("nan")
    if len(differences) < 2:
        return Paired(mean, float("nan"), float("nan"), float("nan"))
    spread = float(stats.sem(differences))
    half = float(stats.t.ppf(0.975, len(differences) - 1)) * spread
    if spread <= 1e-9 * max(1.0, float(np.abs([arm, baseline]).max())):
        return Paired(mean, float("nan"), float("nan"), float("nan"))
    return Paired(mean, mean - half, mean + half, float(stats.ttest_1samp(differences, 0.0).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; nan stays nan and does not count as a test.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    tested = [i for i, p in enumerate(p_values) if not np.isnan(p)]
    corrected = [float("nan")] * len(p_values)
    largest = 0.0
    for rank, i in enumerate(sorted(tested, key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(tested) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def binomial_floor(accuracy: float, images: int) -> float:
    """One standard error of an accuracy measured on so many images."""
    return float(np.sqrt(accuracy * (1 - accuracy) / images))
