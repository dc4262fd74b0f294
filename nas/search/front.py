"""The Pareto front, and how much of the objective space it dominates.

A point dominates another if it is at least as good in every objective and better in one. Only complete trials stand for
election: a pruned one's accuracy is an early epoch's. Inside this file all objectives are costs (a maximum is negated).

Hypervolume (Zitzler & Thiele, 1998): the volume between the front and a reference point that is worse than all of it,
by slicing along the last objective (exact; exponential in the number of objectives, of which there are at most four).
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from nas.engine import Outcome
from nas.metrics import signs


def costs(table: pd.DataFrame, objectives: Collection[str]) -> np.ndarray:
    """(trials, objectives) float array in which less is better; NaN where no trial has the column yet."""
    return table.reindex(columns=list(objectives)).to_numpy(dtype=float) * signs(objectives)


def costs_of(trial: Outcome, objectives: list[str]) -> np.ndarray:
    """(objectives,) the same for one outcome."""
    return np.array([trial.value(name) for name in objectives], dtype=float) * signs(objectives)


def non_dominated(points_NM: np.ndarray) -> np.ndarray:
    """(N,) bool: which points no other point dominates. Equal points are both kept.

    >>> non_dominated(np.array([[1, 2], [2, 1], [2, 2]])).tolist()
    [True, True, False]
    """
    keep_N = np.zeros(len(points_NM), dtype=bool)
    front_FM = np.empty_like(points_NM)  # grows from the top
    size = 0
    for index in np.lexsort(points_NM.T[::-1]):  # whoever dominates a point comes before it
        point_M, rivals_FM = points_NM[index], front_FM[:size]
        if not ((rivals_FM <= point_M).all(1) & (rivals_FM < point_M).any(1)).any():
            keep_N[index] = True
            front_FM[size] = point_M
            size += 1
    return keep_N


def front_of(table: pd.DataFrame, objectives: Collection[str]) -> pd.DataFrame:
    """The rows of trials.csv on the front, best in the first objective first.

    A genome that was trained with several seeds stands as its first trial, with the mean of their accuracies in place
    of its own, and two more columns: accuracy_std and repeats.

    >>> front_of(ledger.table(), ["accuracy", "macs"])
    """
    complete = _by_genome(table[table["state"] == "complete"])
    front = complete[non_dominated(costs(complete, objectives))]
    return front.iloc[np.lexsort(costs(front, objectives).T[::-1])].reset_index(drop=True)


def _by_genome(complete: pd.DataFrame) -> pd.DataFrame:
    if "hash" not in complete or not complete["hash"].duplicated().any():
        return complete
    accuracies = complete.groupby("hash")["accuracy"].agg(["mean", "std", "count"])
    first = complete.drop_duplicates("hash")
    of_each = accuracies.loc[first["hash"]]
    return first.assign(
        accuracy=of_each["mean"].to_numpy(),
        accuracy_std=of_each["std"].to_numpy(),
        repeats=of_each["count"].to_numpy(),
    )


def reference_of(points_NM: np.ndarray) -> np.ndarray:
    """A point a little worse than the worst of all in each objective: the extremes of the front count as well."""
    low_M, high_M = points_NM.min(0), points_NM.max(0)
    return high_M + 0.1 * np.where(high_M > low_M, high_M - low_M, np.maximum(np.abs(high_M), 1e-9))


def hypervolume(points_NM: np.ndarray, reference_M: np.ndarray) -> float:
    """The volume that is dominated by the points and bounded by the reference. Points beyond it add nothing.

    >>> hypervolume(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([2.0, 2.0]))
    3.0
    """
    inside = points_NM[(points_NM < reference_M).all(1)]
    return _volume(inside[non_dominated(inside)], reference_M)


def _volume(points_NM: np.ndarray, reference_M: np.ndarray) -> float:
    if not len(points_NM):
        return 0.0
    if points_NM.shape[1] == 1:
        return float(reference_M[0] - points_NM.min())
    order = np.argsort(points_NM[:, -1])
    levels = np.append(points_NM[order, -1], reference_M[-1])
    volume = 0.0
    for count in range(1, len(points_NM) + 1):
        thickness = levels[count] - levels[count - 1]
        if thickness > 0:
            slice_NM = points_NM[order[:count], :-1]
            volume += thickness * _volume(slice_NM[non_dominated(slice_NM)], reference_M[:-1])
    return float(volume)
