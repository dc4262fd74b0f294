"""A model of an outcome over the parameters of a space: main effects and pairs, with exact posterior draws.

    f(x) = c + φ(x)·w + φ(x)ᵀ W φ(x),    y = f(x) + ε,    w ~ N(0, a I),  W_ij ~ N(0, b),  ε ~ N(0, σ²)

This is a Gaussian process with the kernel 1 + a s + b s², s = φ(x)·φ(x'): the sum of the parameters' own kernels and
its square, which has the products of all pairs (Duvenaud et al., "Additive Gaussian Processes", NeurIPS 2011). What is
left beyond pairs counts as noise. b/a and σ² are drawn from their posterior on a small grid (the scale is integrated
out, as in Student's t), so that pairs come in as far as the outcomes support them.

A draw of f is a draw of (c, w, W) from its prior, corrected by the outcomes (Matheron's rule; Wilson et al.,
"Efficiently sampling functions from Gaussian process posteriors", ICML 2020). It costs O(N³) once; each further point
costs O(D²).

`Encoding` is φ. Each parameter has a block of features with norm 1 on average:
    choice         one-hot of its values, centred
    number         Legendre polynomials of degree 1 to 3 of its place in the range (on a log scale with `log`)
    inactive       zeros

Legend: N observations, C points, D features, L levels of training, V values of a parameter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from nas.search.parameter import Parameter, Value, label
from nas.search.space import Assignment

PAIRS = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0)  # b/a
NOISES = (0.01, 0.03, 0.1, 0.3, 1.0)  # σ²/(a + b)
DEGREES = (0.6, 0.25, 0.15)  # shares of a number's variance, by degree of the polynomial
SHAPE = 2.0  # of the inverse-gamma prior on the scale, whose mean is the variance of the outcomes


class Encoding:
    """φ: assignments as rows of features.

    >>> Encoding(space.parameters).row({"stages.0.split": 2, "stages.0.core": "softmax"}).shape
    (5,)
    """

    def __init__(self, parameters: Sequence[Parameter]):
        self._blocks: list[tuple[Parameter, int, dict[str, np.ndarray] | None]] = []
        self.width = 0
        for parameter in parameters:
            known = _codes(parameter)
            self._blocks.append((parameter, self.width, known))
            self.width += len(next(iter(known.values()))) if known else len(DEGREES)
        self._scale = 1 / math.sqrt(max(1, len(parameters)))

    def row(self, assignment: Assignment) -> np.ndarray:
        """(D,) features of one assignment."""
        row_D = np.zeros(self.width)
        for parameter, begin, known in self._blocks:
            if parameter.path in assignment:
                value = assignment[parameter.path]
                code = _number(parameter, value) if known is None else known[label(value)]
                row_D[begin : begin + len(code)] = code
        return row_D * self._scale


def _codes(parameter: Parameter) -> dict[str, np.ndarray] | None:
    """The features of each value by its label; None for a continuous range."""
    values = parameter.values
    if values is None:
        return None
    numbers = parameter.numeric and len(values) > 2
    raw_VD = np.stack([_number(parameter, value) for value in values]) if numbers else np.eye(len(values))
    centred_VD = raw_VD - raw_VD.mean(0)
    norm = math.sqrt((centred_VD**2).sum() / len(values)) or 1.0
    return {label(value): row_D / norm for value, row_D in zip(values, centred_VD, strict=True)}


def place(parameter: Parameter, value: Value) -> float:
    """Where a number is in its range, in [0, 1]."""
    low, high, at = parameter.low, parameter.high, float(value)
    if parameter.log:
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)


def _number(parameter: Parameter, value: Value) -> np.ndarray:
    t = 2 * place(parameter, value) - 1
    legendre = (math.sqrt(3) * t, math.sqrt(5) / 2 * (3 * t * t - 1), math.sqrt(7) / 2 * (5 * t**3 - 3 * t))
    code_D: np.ndarray = np.sqrt(DEGREES) * legendre
    return code_D


@dataclass(frozen=True)
class Function:
    """A draw of f.

    >>> posterior.draw(np.random.default_rng(0))(rows_CD)      # (C,)
    """

    constant: float
    main_D: np.ndarray
    pairs_DD: np.ndarray

    def __call__(self, rows_CD: np.ndarray) -> np.ndarray:
        values_C: np.ndarray = self.constant + rows_CD @ self.main_D + ((rows_CD @ self.pairs_DD) * rows_CD).sum(1)
        return values_C


class Posterior:
    """The model given outcomes. rows_ND: features. outcomes_N: in any unit. levels_N: number of epochs of each.

    Outcomes of shorter trainings differ from those of the longest by a constant per level, which is fitted.
    """

    def __init__(self, rows_ND: np.ndarray, outcomes_N: np.ndarray, levels_N: np.ndarray):
        self.rows_ND = rows_ND
        self.mean, self.deviation = float(outcomes_N.mean()), float(outcomes_N.std()) or 1.0
        self.outcomes_N = (outcomes_N - self.mean) / self.deviation
        lower = np.unique(levels_N)[:-1]
        self._offsets_NL = (levels_N[:, None] == lower[None]).astype(float)
        self._inner_NN = rows_ND @ rows_ND.T

    def cells(self) -> np.ndarray:
        """Probabilities of the cells of PAIRS × NOISES, flat."""
        count, logs = len(self.outcomes_N), []
        for pairs in PAIRS:
            values_N, vectors_NN = np.linalg.eigh(self._kernel(pairs))
            projected_N = (vectors_NN.T @ self.outcomes_N) ** 2
            for noise in NOISES:
                total_N = np.maximum(values_N, 0) + noise
                quadratic = SHAPE - 1 + 0.5 * (projected_N / total_N).sum()
                logs.append(-0.5 * np.log(total_N).sum() - (SHAPE + 0.5 * count) * math.log(quadratic))
        weights = np.exp(np.array(logs) - max(logs))
        probabilities: np.ndarray = weights / weights.sum()
        return probabilities

    def draw(self, rng: np.random.Generator, cells: np.ndarray) -> Function:
        """A function from the posterior. cells: the probabilities of `cells`, perhaps those given fewer outcomes."""
        count, width = self.rows_ND.shape
        pairs, noise = list(product(PAIRS, NOISES))[rng.choice(len(cells), p=cells)]
        main, square = 1 / (1 + pairs), pairs / (1 + pairs)
        prior = Function(
            rng.normal(),
            math.sqrt(main) * rng.normal(size=(width,)),
            math.sqrt(square) * rng.normal(size=(width, width)),
        )
        offsets_N = self._offsets_NL @ rng.normal(size=self._offsets_NL.shape[1])
        drawn_N = prior(self.rows_ND) + offsets_N + math.sqrt(noise) * rng.normal(size=count)
        kernel_NN = self._kernel(pairs) + noise * np.eye(count)
        solved_N2 = np.linalg.solve(kernel_NN, np.stack([self.outcomes_N, drawn_N], axis=1))
        quadratic = SHAPE - 1 + 0.5 * float(self.outcomes_N @ solved_N2[:, 0])
        scale = math.sqrt(quadratic / rng.gamma(SHAPE + 0.5 * count))
        weights_N = solved_N2[:, 0] - scale * solved_N2[:, 1]
        unit = self.deviation
        return Function(
            self.mean + unit * (scale * prior.constant + float(weights_N.sum())),
            unit * (scale * prior.main_D + main * self.rows_ND.T @ weights_N),
            unit * (scale * prior.pairs_DD + square * (self.rows_ND.T * weights_N) @ self.rows_ND),
        )

    def _kernel(self, pairs: float) -> np.ndarray:
        """Of f and the offsets of levels, with a + b = 1."""
        kernel_NN: np.ndarray = 1 + (self._inner_NN + pairs * self._inner_NN**2) / (1 + pairs)
        kernel_NN += self._offsets_NL @ self._offsets_NL.T
        return kernel_NN
