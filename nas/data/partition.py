"""Stratified subsets: every class gives its proportional share, to within one image.

The draw uses numpy's RandomState, whose stream numpy has promised never to change (NEP 19): a test split that is carved
today is the same test split on another machine and in another year.
"""

from __future__ import annotations

import numpy as np


def stratified(labels_N: np.ndarray, count: int, seed: int, *, least: int = 0, leave: int = 0) -> np.ndarray:
    """Indices (sorted, int64) of `count` of the N images, class by class in proportion.

    Each class gives the floor of its share, and the largest remainders round up (ties go to the lower label). Then
    every class gives `least` images or more, at the expense of the largest, and keeps `leave` images back; the sum
    differs from `count` only where these two leave no choice.

    >>> stratified(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0).size
    3
    """
    members = np.unique(labels_N, return_counts=True)[1]
    shares = members * (count / len(labels_N))
    quotas = np.floor(shares + 1e-9).astype(np.int64)
    order = np.argsort(-(shares - quotas), kind="stable")
    quotas[order[: count - int(quotas.sum())]] += 1
    quotas = np.minimum(np.maximum(quotas, least), np.maximum(members - leave, 0))
    while quotas.sum() > count and quotas.max() > least:
        quotas[quotas.argmax()] -= 1
    random = np.random.RandomState(seed)
    by_class = np.split(np.argsort(labels_N, kind="stable"), np.cumsum(members)[:-1])  # each in order
    chosen = [random.permutation(indices)[:quota] for indices, quota in zip(by_class, quotas, strict=True)]
    return np.sort(np.concatenate(chosen)).astype(np.int64)


def without(indices_N: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """`indices_N` less `taken`, sorted."""
    return np.setdiff1d(indices_N, taken, assume_unique=True)
