"""Masks and volumes against their definitions; ranks that are kept as points arrive against sorting all anew."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from optuna._hypervolume import compute_hypervolume

from nas.search import front_of, hypervolume, non_dominated
from nas.search.pareto import NEAR, Ranks, near_front, reference_of

values = st.integers(0, 6).map(float)
clouds = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(lambda shape: arrays(float, shape, elements=values))


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(points_NM=clouds)
def test_non_dominated_is_what_its_definition_says(points_NM: np.ndarray) -> None:
    expected = [not any(dominates(other, point) for other in points_NM) for point in points_NM]
    assert non_dominated(points_NM).tolist() == expected


@given(points_NM=clouds)
def test_near_the_front_are_the_first_fronts(points_NM: np.ndarray) -> None:
    left_N = np.ones(len(points_NM), dtype=bool)
    for _ in range(NEAR):
        left_N[np.flatnonzero(left_N)[non_dominated(points_NM[left_N])]] = False
    assert near_front(points_NM).tolist() == (~left_N).tolist()


@given(points_NM=clouds)
def test_hypervolume_agrees_with_optunas(points_NM: np.ndarray) -> None:
    reference_M = np.full(points_NM.shape[1], 5.5)
    inside = points_NM[(points_NM < reference_M).all(1)]
    expected = compute_hypervolume(inside, reference_M) if len(inside) else 0.0
    assert hypervolume(points_NM, reference_M) == pytest.approx(expected)


@given(points_NM=clouds)
def test_every_point_counts_against_the_default_reference(points_NM: np.ndarray) -> None:
    assert (points_NM < reference_of(points_NM)).all()


def table() -> pd.DataFrame:
    rows = [
        ("0000", "complete", 0.90, 100),
        ("0001", "complete", 0.80, 50),
        ("0002", "pruned", 0.99, 10),
        ("0003", "complete", 0.85, 120),
        ("0004", "failed", None, 1),
        ("0005", "complete", 0.90, 90),
        ("0006", "infeasible", None, 5),
    ]
    return pd.DataFrame(rows, columns=["trial", "state", "accuracy", "macs"])


def test_only_complete_trials_are_elected_and_the_best_comes_first() -> None:
    assert front_of(table(), ["accuracy", "macs"])["trial"].tolist() == ["0005", "0001"]
    assert front_of(table(), ["accuracy"])["trial"].tolist() == ["0000", "0005"]


def test_a_run_without_a_complete_trial_has_an_empty_front() -> None:
    assert len(front_of(table()[lambda t: t["state"] == "failed"], ["accuracy", "macs"])) == 0


def test_a_genome_with_repeats_stands_as_their_mean() -> None:
    rows = [("0", "a", 0.9, 10), ("1", "a", 0.7, 10), ("2", "b", 0.85, 9), ("3", "b", 0.85, 9), ("4", "c", 0.82, 8)]
    trials = pd.DataFrame(rows, columns=["trial", "hash", "accuracy", "macs"]).assign(state="complete")
    front = front_of(trials, ["accuracy", "macs"])
    assert front["trial"].tolist() == ["2", "4"], "0.9 was luck: the genome's mean is 0.8"
    assert front["repeats"].tolist() == [2, 1]
    assert front["accuracy_std"].iloc[0] == 0.0


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
