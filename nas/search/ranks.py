"""Points in the order of NSGA-II, kept as they arrive: the non-dominated rank, then the crowding distance, then age.

Rank 0 is the Pareto front, rank 1 the front without it, and so on (Deb et al., 2002). A new point goes behind the last
front that dominates it, and pushes those that it dominates there one front back, which push others in turn (Li et al.,
"Efficient non-domination level update", 2017): a point costs what moves, and not a sort of all.

Legend: N points, M objectives (costs: less is better), F points of one front.
"""

from __future__ import annotations

import numpy as np


class Ranks:
    """`add` points, then ask for the `best`.

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
        self._ordered: dict[int, list[int]] = {}  # by rank, of the fronts that have not changed since they were sorted

    def add(self, point_M: np.ndarray) -> None:
        """The next point; they are numbered from 0."""
        new, self._count = self._count, self._count + 1
        if new == len(self._points):
            self._points = np.concatenate([self._points, np.empty_like(self._points)])
            self._ranks = np.concatenate([self._ranks, np.empty_like(self._ranks)])
        self._points[new] = point_M
        points_NM, ranks_N = self._points[: self._count], self._ranks[: self._count]
        dominating_N = (points_NM <= point_M).all(1) & (points_NM < point_M).any(1)
        rank = int(ranks_N[dominating_N].max()) + 1 if dominating_N.any() else 0
        ranks_N[new] = -1  # of no front yet
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
                distance_F = _crowding(self._points[front_F])
                self._ordered[rank] = front_F[np.argsort(-distance_F, kind="stable")].tolist()
            order += self._ordered[rank]
            rank += 1
        return order[:count]


def _dominated(points_FM: np.ndarray, by_KM: np.ndarray) -> np.ndarray:
    """(F,) bool: which points any of the K others dominates."""
    no_worse_FK = np.all(by_KM[None] <= points_FM[:, None], axis=2)
    better_FK = np.any(by_KM[None] < points_FM[:, None], axis=2)
    return np.any(no_worse_FK & better_FK, axis=1)


def _crowding(points_FM: np.ndarray) -> np.ndarray:
    """Deb et al., 2002: the extremes of each objective are infinitely far from anybody."""
    distance_F = np.zeros(len(points_FM))
    for column_F in points_FM.T:
        order_F = np.argsort(column_F, kind="stable")
        sorted_F = column_F[order_F]
        span = sorted_F[-1] - sorted_F[0]
        distance_F[order_F[[0, -1]]] = np.inf
        if span > 0:
            distance_F[order_F[1:-1]] += (sorted_F[2:] - sorted_F[:-2]) / span
    return distance_F
