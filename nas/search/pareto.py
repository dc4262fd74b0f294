"""Pareto dominance: the front, its hypervolume, and subsequent fronts.

A point dominates another if it is at least as good in every objective and better in one. In this file all objectives
are costs (maximised metrics are negated), and equal points do not dominate each other. Only complete trials are
eligible for the front: a pruned trial's accuracy is that of an early epoch.

Hypervolume (Zitzler & Thiele, 1998): the volume between the front and a reference point that is worse than all of it.

moocore computes masks, ranks and volumes (benchmarks/pareto.py compares it with Optuna's functions). `Ranks` is our
own: halving needs the order of a rung after every trial, and updating it is faster than ranking all points again.

Legend: N points, M objectives, F points of one front.
"""

from __future__ import annotations

from collections.abc import Collection

import moocore
import numpy as np
import pandas as pd

from nas.engine import Outcome
from nas.metrics import signs

NEAR = 3  # number of fronts whose trials keep their weights


def costs(table: pd.DataFrame, objectives: Collection[str]) -> np.ndarray:
    """(trials, objectives) float array, less is better; NaN where no trial has the column yet."""
    costs_NM: np.ndarray = table.reindex(columns=list(objectives)).to_numpy(dtype=float) * signs(objectives)
    return costs_NM


def costs_of(trial: Outcome, objectives: list[str]) -> np.ndarray:
    """(objectives,) `costs` of one outcome."""
    costs_M: np.ndarray = np.array([trial.value(name) for name in objectives], dtype=float) * signs(objectives)
    return costs_M


def non_dominated(points_NM: np.ndarray) -> np.ndarray:
    """(N,) bool: the non-dominated points. Equal points are both kept.

    >>> non_dominated(np.array([[1, 2], [2, 1], [2, 2]])).tolist()
    [True, True, False]
    """
    mask_N: np.ndarray = moocore.is_nondominated(points_NM, keep_weakly=True)
    return mask_N


def front_ranks(points_NM: np.ndarray) -> np.ndarray:
    """(N,) int: 0 on the front, 1 on the front of the rest, and so on."""
    rank_N: np.ndarray = moocore.pareto_rank(points_NM)
    return rank_N


def near_front(points_NM: np.ndarray) -> np.ndarray:
    """(N,) bool: which points lie on one of the first `NEAR` fronts (the front, the front without it, and so on)."""
    near_N: np.ndarray = front_ranks(points_NM) < NEAR
    return near_N


def front_of(table: pd.DataFrame, objectives: Collection[str]) -> pd.DataFrame:
    """The rows of `by_genome` on the front, sorted by the first objective, best first.

    >>> front_of(ledger.table(), ["accuracy", "macs"])
    """
    complete = by_genome(table)
    front = complete[non_dominated(costs(complete, objectives))]
    return front.iloc[np.lexsort(costs(front, objectives).T[::-1])].reset_index(drop=True)


def by_genome(table: pd.DataFrame) -> pd.DataFrame:
    """The complete trials in trials.csv, one for each genome.

    A genome trained with several seeds is represented by its first trial, with the mean accuracy of all of them and two
    more columns: accuracy_std and repeats.
    """
    complete = table[table["state"] == "complete"]
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
    """A point slightly worse than the worst in each objective, so that the front's extremes contribute volume."""
    low_M, high_M = points_NM.min(0), points_NM.max(0)
    reference_M: np.ndarray = high_M + 0.1 * np.where(high_M > low_M, high_M - low_M, np.maximum(np.abs(high_M), 1e-9))
    return reference_M


def hypervolume(points_NM: np.ndarray, reference_M: np.ndarray) -> float:
    """The volume dominated by the points and bounded by the reference. Points beyond it contribute nothing.

    >>> hypervolume(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([2.0, 2.0]))
    3.0
    """
    return float(moocore.hypervolume(points_NM, ref=reference_M))


def volumes(points_NM: np.ndarray, reference_M: np.ndarray) -> np.ndarray:
    """(N,) hypervolumes of the first 1, 2, …, N points; a point that is not finite adds nothing."""
    found, volume = [], 0.0
    front_FM = points_NM[:0]
    for point_M in points_NM:
        if np.isfinite(point_M).all() and not (front_FM <= point_M).all(1).any():
            front_FM = np.vstack([front_FM, point_M])
            front_FM = front_FM[non_dominated(front_FM)]
            volume = hypervolume(front_FM, reference_M)
        found.append(volume)
    return np.array(found)


class Ranks:
    """Points in the order of NSGA-II, updated incrementally: non-dominated rank, then crowding distance, then age.

    Rank 0 is the front, rank 1 the front without it, and so on (Deb et al., 2002). A new point joins the front after
    the last one with a point that dominates it. Points that it dominates there move down one rank, and may move others
    in turn (Li et al., "Efficient non-domination level update", 2017).

    >>> ranks = Ranks(2)
    >>> for point in ([1.0, 1.0], [0.0, 2.0], [2.0, 2.0], [2.0, 0.0]):
    ...     ranks.add(np.array(point))
    >>> ranks.best(3)
    [1, 3, 0]
    """

    def __init__(self, objectives: int):
        self._points = np.empty((16, objectives))  # doubled when full
        self._ranks = np.empty(16, dtype=np.int64)
        self._count = 0
        self._ordered: dict[int, list[int]] = {}  # by rank; only fronts unchanged since they were sorted

    def add(self, point_M: np.ndarray) -> None:
        """Add a point; points are numbered from 0."""
        new, self._count = self._count, self._count + 1
        if new == len(self._points):
            self._points = np.concatenate([self._points, np.empty_like(self._points)])
            self._ranks = np.concatenate([self._ranks, np.empty_like(self._ranks)])
        self._points[new] = point_M
        points_NM, ranks_N = self._points[: self._count], self._ranks[: self._count]
        dominating_N = (points_NM <= point_M).all(1) & (points_NM < point_M).any(1)
        rank = int(ranks_N[dominating_N].max()) + 1 if dominating_N.any() else 0
        ranks_N[new] = -1  # no front yet
        moving_F = np.array([new])
        while len(moving_F):
            front_F = np.flatnonzero(ranks_N == rank)
            ranks_N[moving_F] = rank
            self._ordered.pop(rank, None)
            moving_F = front_F[_dominated(points_NM[front_F], points_NM[moving_F])]
            rank += 1

    def best(self, count: int) -> list[int]:
        """The numbers of the `count` best points, best first."""
        order: list[int] = []
        rank = 0
        while len(order) < count:
            if rank not in self._ordered:
                front_F = np.flatnonzero(self._ranks[: self._count] == rank)
                distance_F = crowding_distance(self._points[front_F])
                self._ordered[rank] = front_F[np.argsort(-distance_F, kind="stable")].tolist()
            order += self._ordered[rank]
            rank += 1
        return order[:count]


def _dominated(points_FM: np.ndarray, by_KM: np.ndarray) -> np.ndarray:
    """(F,) bool: points dominated by any of the K others."""
    no_worse_FK = np.all(by_KM[None] <= points_FM[:, None], axis=2)
    better_FK = np.any(by_KM[None] < points_FM[:, None], axis=2)
    dominated_F: np.ndarray = np.any(no_worse_FK & better_FK, axis=1)
    return dominated_F


def crowding_distance(points_FM: np.ndarray) -> np.ndarray:
    """(F,) crowding distances (Deb et al., 2002); infinite for the extremes of each objective."""
    distance_F = np.zeros(len(points_FM))
    for column_F in points_FM.T:
        order_F = np.argsort(column_F, kind="stable")
        sorted_F = column_F[order_F]
        span = sorted_F[-1] - sorted_F[0]
        distance_F[order_F[[0, -1]]] = np.inf
        if span > 0:
            distance_F[order_F[1:-1]] += (sorted_F[2:] - sorted_F[:-2]) / span
    return distance_F
