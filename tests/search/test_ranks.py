"""Ranks that are kept as points arrive, against sorting all of them anew."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nas.search import non_dominated
from nas.search.ranks import Ranks

points = arrays(float, st.tuples(st.integers(1, 40), st.integers(1, 3)), elements=st.integers(0, 5).map(float))


def filled(points_NM: np.ndarray) -> Ranks:
    ranks = Ranks(points_NM.shape[1])
    for point_M in points_NM:
        ranks.add(point_M)
    return ranks


@given(points)
def test_front_comes_after_front(points_NM: np.ndarray) -> None:
    order = filled(points_NM).best(len(points_NM))
    assert sorted(order) == list(range(len(points_NM)))
    left = np.ones(len(points_NM), dtype=bool)
    while left.any():
        front = set(np.flatnonzero(left)[non_dominated(points_NM[left])])
        assert set(order[: len(front)]) == front
        order = order[len(front) :]
        left[list(front)] = False


@given(points, st.data())
def test_asking_on_the_way_changes_nothing(points_NM: np.ndarray, data: st.DataObject) -> None:
    """Fronts that were sorted are kept until they change."""
    ranks = Ranks(points_NM.shape[1])
    for count, point_M in enumerate(points_NM, start=1):
        ranks.add(point_M)
        asked = data.draw(st.integers(0, count))
        assert ranks.best(asked) == filled(points_NM[:count]).best(count)[:asked]


def test_the_extremes_of_a_front_come_first_then_the_lonely() -> None:
    front_N2 = np.array([[0.0, 10.0], [1.0, 8.0], [3.0, 7.0], [9.0, 1.0], [10.0, 0.0]])
    assert filled(front_N2).best(3) == [0, 4, 2]
