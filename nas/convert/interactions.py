"""Interactions of replaced layers: corrections of the additive score for pairs, fitted to measured assemblies.

    measured_a − additive_a  ≈  Σ_p w_p φ_ap        φ_ap = 1 where assembly a has both candidates of pair p, else 0
    w(λ) = Φᵀ (Φ Φᵀ + λ I)⁻¹ r                      ridge regression on the residual r, in its dual form

A pair is two layers that are both replaced, each with its candidate; a layer that keeps the parent's candidate is in no
pair, so an assembly with at most one replaced layer is left as it was scored. There are usually more pairs (hundreds)
than measured assemblies (50 to 100), hence the penalty. Its strength λ is the one with the least squared error at
assemblies left out one at a time, which needs no refit (PRESS; Allen, 1974): with H = Φ Φᵀ (Φ Φᵀ + λ I)⁻¹

    e_a = (r_a − (H r)_a) / (1 − H_aa)

Where no strength predicts assemblies that were left out better than the additive score does, there are no corrections.

Legend: A assemblies, P pairs, S strengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from nas.convert.choice import Place

STRENGTHS_S = np.geomspace(1e-6, 1e3, 46)  # of λ, relative to the largest eigenvalue of Φ Φᵀ


def fit_pairs(
    assemblies: Sequence[Sequence[str]],
    measured: Sequence[float],
    additive: Sequence[float],
    *,
    parent: Sequence[str],
    layers: Sequence[int] | None = None,
) -> dict[tuple[Place, Place], float]:
    """The corrections `pairs` of a `Problem`, in the unit of the scores; empty where they would not help.

    `assemblies` are the names of the candidates in the order of the layers, `measured` their scores as whole models,
    `additive` the sums of the scores of their layers; `parent` are the names that replace nothing. `layers` are the
    numbers of the layers, 0, 1, ... by default.

    >>> names = [("less", "less"), ("less", "softmax"), ("softmax", "less"), ("less", "less")]
    >>> fitted = fit_pairs(names, [0.5, 0.1, 0.2, 0.5], [0.3, 0.1, 0.2, 0.3], parent=("softmax", "softmax"))
    >>> {pair: round(correction, 4) for pair, correction in fitted.items()}
    {((0, 'less'), (1, 'less')): 0.2}
    """
    numbers = range(len(parent)) if layers is None else layers
    pairs_of = [_replaced_pairs(names, parent, numbers) for names in assemblies]
    pairs = sorted(set().union(*pairs_of))
    residual_A = np.asarray(measured, dtype=float) - np.asarray(additive, dtype=float)
    features_AP = np.array([[pair in own for pair in pairs] for own in pairs_of], dtype=float)
    eigenvalues_A, vectors_AA = np.linalg.eigh(features_AP @ features_AP.T)
    if not pairs:
        return {}
    penalties_S = STRENGTHS_S * eigenvalues_A[-1]
    errors_S = [_left_out_error(eigenvalues_A, vectors_AA, residual_A, penalty) for penalty in penalties_S]
    if min(errors_S) >= np.sum(residual_A**2):
        return {}
    penalty = penalties_S[int(np.argmin(errors_S))]
    dual_A = vectors_AA @ ((vectors_AA.T @ residual_A) / (eigenvalues_A + penalty))
    return dict(zip(pairs, (features_AP.T @ dual_A).tolist(), strict=True))


def _replaced_pairs(names: Sequence[str], parent: Sequence[str], layers: Sequence[int]) -> set[tuple[Place, Place]]:
    triples = zip(layers, names, parent, strict=True)
    return set(combinations([(layer, name) for layer, name, kept in triples if name != kept], 2))


def _left_out_error(eigenvalues_A: np.ndarray, vectors_AA: np.ndarray, residual_A: np.ndarray, penalty: float) -> float:
    """Σ e_a², the squared error of each assembly's residual when it is predicted from the others."""
    hat_AA = (vectors_AA * (eigenvalues_A / (eigenvalues_A + penalty))) @ vectors_AA.T
    errors_A = (residual_A - hat_AA @ residual_A) / (1 - np.diag(hat_AA))
    return float(np.sum(errors_A**2))
