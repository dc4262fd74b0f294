"""Corrections for pairs: planted ones come back, noise gives next to none, and the left-out error is that of refits."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nas.convert.choice import Candidate, Problem, choose
from nas.convert.interactions import _left_out_error, fit_pairs

LAYERS = 7
NAMES = ("softmax", "less", "linear")
PARENT = ("softmax",) * LAYERS
SCORES = {"softmax": 0.0, "less": 0.02, "linear": 0.03}
PLANTED = {((0, "less"), (1, "less")): 0.05, ((2, "linear"), (5, "less")): -0.03, ((3, "less"), (4, "linear")): 0.02}


def drawn(count: int, seed: int = 0) -> list[tuple[str, ...]]:
    rng = np.random.default_rng(seed)
    return [tuple(rng.choice(NAMES, LAYERS).tolist()) for _ in range(count)]


def additive(assemblies: list[tuple[str, ...]]) -> np.ndarray:
    return np.array([sum(SCORES[name] for name in names) for names in assemblies])


def interaction(assemblies: list[tuple[str, ...]], pairs: dict) -> np.ndarray:
    return np.array([sum(w for pair, w in pairs.items() if set(pair) <= set(enumerate(a))) for a in assemblies])


def test_planted_interactions_come_back() -> None:
    assemblies = drawn(300)  # more than the 84 pairs: there is one answer
    measured = additive(assemblies) + interaction(assemblies, PLANTED)
    fitted = fit_pairs(assemblies, measured, additive(assemblies), parent=PARENT)
    assert len(fitted) == 84
    for pair, correction in fitted.items():
        assert correction == pytest.approx(PLANTED.get(pair, 0), abs=1e-4), pair


def test_fewer_assemblies_than_pairs_predict_others_better_than_the_additive_score() -> None:
    assemblies, others = drawn(70), drawn(200, seed=1)
    noise = np.random.default_rng(2).normal(scale=0.002, size=70)
    measured = additive(assemblies) + interaction(assemblies, PLANTED) + noise
    fitted = fit_pairs(assemblies, measured, additive(assemblies), parent=PARENT)
    truth = interaction(others, PLANTED)
    assert np.sum((truth - interaction(others, fitted)) ** 2) < 0.5 * np.sum(truth**2)


def test_the_choice_with_corrections_is_the_best_of_all_assemblies() -> None:
    assemblies = drawn(300)
    fitted = fit_pairs(assemblies, interaction(assemblies, PLANTED), np.zeros(300), parent=PARENT)
    candidates = [
        Candidate(layer, name, SCORES[name], {"softmax": int(name == "softmax")})
        for layer in range(LAYERS)
        for name in NAMES
    ]
    found = choose(Problem(candidates, budgets={"softmax": 3}, pairs=fitted))
    every = [names for names in product(NAMES, repeat=LAYERS) if names.count("softmax") <= 3]
    best = np.min(additive(every) + interaction(every, PLANTED))
    assert additive([found.names])[0] + interaction([found.names], PLANTED)[0] == pytest.approx(best)
    assert found.score == pytest.approx(best, abs=1e-3)


def test_noise_gives_next_to_no_corrections() -> None:
    assemblies = drawn(80)
    noise = np.random.default_rng(3).normal(scale=0.01, size=80)
    fitted = fit_pairs(assemblies, additive(assemblies) + noise, additive(assemblies), parent=PARENT)
    assert np.sum(interaction(assemblies, fitted) ** 2) < 0.2 * np.sum(noise**2)


def test_a_single_replaced_layer_is_in_no_pair() -> None:
    assemblies = [PARENT, ("less", *PARENT[1:])]
    assert fit_pairs(assemblies, [0.1, 0.2], [0.0, 0.0], parent=PARENT) == {}


def test_layers_have_the_numbers_they_are_given() -> None:
    fitted = fit_pairs([("less", "less")] * 2, [0.2, 0.2], [0.1, 0.1], parent=("softmax",) * 2, layers=(3, 8))
    assert list(fitted) == [((3, "less"), (8, "less"))]


def test_the_left_out_error_is_that_of_refits() -> None:
    rng = np.random.default_rng(4)
    features_AP, residual_A = rng.integers(0, 2, (12, 20)).astype(float), rng.normal(size=12)
    expected = 0.0
    for left in range(12):
        kept_AP, kept_A = np.delete(features_AP, left, axis=0), np.delete(residual_A, left)
        weights_P = np.linalg.solve(kept_AP.T @ kept_AP + 0.3 * np.eye(20), kept_AP.T @ kept_A)
        expected += (residual_A[left] - features_AP[left] @ weights_P) ** 2
    eigenvalues_A, vectors_AA = np.linalg.eigh(features_AP @ features_AP.T)
    assert _left_out_error(eigenvalues_A, vectors_AA, residual_A, 0.3) == pytest.approx(expected)
