from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nas.data.partition import stratified, without

labels = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(np.array)
seeds = st.integers(0, 2**31 - 1)


@given(labels, st.floats(0, 1), seeds)
def test_every_class_gives_its_share_to_within_one_image(labels_N: np.ndarray, share: float, seed: int) -> None:
    count = round(share * len(labels_N))
    chosen = stratified(labels_N, count, seed)
    assert len(chosen) == count
    assert len(np.unique(chosen)) == count
    for label in np.unique(labels_N):
        members, taken = (labels_N == label).sum(), (labels_N[chosen] == label).sum()
        assert abs(taken - members * count / len(labels_N)) < 1


@given(labels, st.floats(0, 1), seeds)
def test_chosen_and_rest_are_a_partition(labels_N: np.ndarray, share: float, seed: int) -> None:
    chosen = stratified(labels_N, round(share * len(labels_N)), seed)
    rest = without(np.arange(len(labels_N)), chosen)
    assert sorted([*chosen, *rest]) == list(range(len(labels_N)))


@given(labels, st.floats(0, 1), seeds)
def test_leave_keeps_an_image_of_every_class_back(labels_N: np.ndarray, share: float, seed: int) -> None:
    chosen = stratified(labels_N, round(share * len(labels_N)), seed, leave=1)
    assert set(labels_N[without(np.arange(len(labels_N)), chosen)]) == set(labels_N)


@given(labels, st.data(), seeds)
def test_least_takes_an_image_of_every_class_and_keeps_the_count(
    labels_N: np.ndarray, data: st.DataObject, seed: int
) -> None:
    count = data.draw(st.integers(len(np.unique(labels_N)), len(labels_N)))
    chosen = stratified(labels_N, count, seed, least=1)
    assert len(chosen) == count
    assert set(labels_N[chosen]) == set(labels_N)


def test_the_seed_decides() -> None:
    labels_N = np.arange(100) % 4
    assert np.array_equal(stratified(labels_N, 20, 1), stratified(labels_N, 20, 1))
    assert not np.array_equal(stratified(labels_N, 20, 1), stratified(labels_N, 20, 2))


def test_the_draw_is_the_same_on_every_machine_and_in_every_release() -> None:
    chosen = stratified(np.arange(1000) % 10, 200, 0)
    assert chosen[:8].tolist() == [20, 23, 24, 26, 28, 35, 37, 42]
    assert hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest()[:16] == "083bd1413c3b14e4"
