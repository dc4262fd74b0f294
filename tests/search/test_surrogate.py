"""The model of outcomes: its draws are those of a Gaussian process, and pairs come in on evidence."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.parameter import Parameter
from nas.search.surrogate import NOISES, PAIRS, Encoding, Posterior, place
from tests.search.test_sampler_conformance import EVERY_KIND

FULL = np.inf  # the level of a whole training
SWITCHES = [Parameter(f"p{index}", (False, True)) for index in range(6)]
CORNERS = [{p.path: bool(index >> bit & 1) for bit, p in enumerate(SWITCHES)} for index in range(64)]


def rows_of(assignments: list[dict[str, bool]]) -> np.ndarray:
    encoding = Encoding(SWITCHES)
    return np.stack([encoding.row(assignment) for assignment in assignments])


def posterior(outcomes_N: np.ndarray, chosen_N: np.ndarray, levels_N: np.ndarray | None = None) -> Posterior:
    levels_N = np.full(len(chosen_N), FULL) if levels_N is None else levels_N
    return Posterior(rows_of(CORNERS)[chosen_N], outcomes_N, levels_N)


def mean_of(model: Posterior, rows_CD: np.ndarray, draws: int = 200) -> np.ndarray:
    cells, rng = model.cells(), np.random.default_rng(0)
    return np.mean([model.draw(rng, cells)(rows_CD) for _ in range(draws)], axis=0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_features_tell_assignments_apart_and_nothing_else(seed: int) -> None:
    spec = SearchSpec.parse(parse_yaml(EVERY_KIND))
    space = spec.space(spec.genome())
    encoding, rng = Encoding(space.parameters), Random(seed)
    one, other = space.draw(rng), space.draw(rng)
    assert np.array_equal(encoding.row(one), encoding.row(dict(reversed(one.items()))))
    assert np.array_equal(encoding.row(one), encoding.row(other)) == (one == other)
    missing = {path: value for path, value in one.items() if path != "drop_path"}
    assert np.count_nonzero(encoding.row(missing)) < np.count_nonzero(encoding.row(one))


def test_every_parameter_weighs_the_same() -> None:
    parameters = [
        Parameter("a", ("x", "y", "z")),
        Parameter("b", (1, 2, 3, 4, 5), 1, 5, numeric=True),
        Parameter("c", None, 1e-4, 1e-1, log=True, numeric=True),
    ]
    rng = Random(0)
    rows_ND = np.stack(
        [Encoding(parameters).row({p.path: p.at(rng.random()) for p in parameters}) for _ in range(4000)]
    )
    blocks = [slice(0, 3), slice(3, 6), slice(6, 9)]
    for block in blocks:
        assert (rows_ND[:, block] ** 2).sum(1).mean() == pytest.approx(1 / 3, rel=0.1)
    assert place(parameters[2], 1e-1) == pytest.approx(1.0) and place(parameters[1], 3) == pytest.approx(0.5)


def test_draws_have_the_mean_and_the_spread_of_the_gaussian_process() -> None:
    """One cell of the grid, against the textbook formula; the scale is drawn, and large N settles it."""
    rng = np.random.default_rng(1)
    chosen_N = rng.permutation(64)[:40]
    outcomes_N = rows_of(CORNERS)[chosen_N] @ rng.normal(size=12) + 0.3 * rng.normal(size=40)
    model = posterior(outcomes_N, chosen_N)
    pairs, noise = PAIRS[2], NOISES[2]
    cells = np.zeros(len(PAIRS) * len(NOISES))
    cells[2 * len(NOISES) + 2] = 1
    rows_CD = rows_of(CORNERS)
    draws = np.array([model.draw(rng, cells)(rows_CD) for _ in range(1500)])

    inner = rows_CD @ rows_CD.T
    prior = 1 + (inner + pairs * inner**2) / (1 + pairs)
    gain = prior[:, chosen_N] @ np.linalg.inv(prior[np.ix_(chosen_N, chosen_N)] + noise * np.eye(40))
    standard_N = (outcomes_N - outcomes_N.mean()) / outcomes_N.std()
    np.testing.assert_allclose(draws.mean(0), outcomes_N.mean() + outcomes_N.std() * gain @ standard_N, atol=0.1)
    ratio_C = draws.var(0) / np.diag(prior - gain @ prior[chosen_N])
    assert ratio_C.std() / ratio_C.mean() < 0.15, "one scale for all points"


def test_pairs_come_in_on_evidence() -> None:
    rng = np.random.default_rng(2)
    bits_N6 = np.array([list(corner.values()) for corner in CORNERS], float)
    chosen_N = rng.permutation(64)[:36]
    additive_N = bits_N6 @ [3, 2, 1, 0, 0, 0] + 0.2 * rng.normal(size=64)
    crossed_N = (bits_N6[:, 0] != bits_N6[:, 1]) * 3 + bits_N6[:, 2] + 0.2 * rng.normal(size=64)
    weights = [posterior(y[chosen_N], chosen_N).cells().reshape(len(PAIRS), -1).sum(1) for y in (additive_N, crossed_N)]
    assert weights[0][:2].sum() > 0.5 and weights[1][:2].sum() < 0.01
    untried_C = np.setdiff1d(np.arange(64), chosen_N)
    expected_C = mean_of(posterior(crossed_N[chosen_N], chosen_N), rows_of(CORNERS)[untried_C])
    assert np.corrcoef(expected_C, crossed_N[untried_C])[0, 1] > 0.9


def test_shorter_trainings_tell_about_the_longest_but_for_a_constant() -> None:
    bits_N6 = np.array([list(corner.values()) for corner in CORNERS], float)
    chosen_N = np.random.default_rng(3).permutation(64)[:40]
    truth_N = bits_N6 @ [3, 2, 1, -1, -2, -3]
    short_N = np.arange(40) < 28
    outcomes_N = truth_N[chosen_N] - 5.0 * short_N
    found_C = mean_of(posterior(outcomes_N, chosen_N, np.where(short_N, 1.0, FULL)), rows_of(CORNERS))
    assert np.abs(found_C - truth_N).mean() < 0.6
    fooled_C = mean_of(posterior(outcomes_N, chosen_N), rows_of(CORNERS))
    assert np.abs(fooled_C - truth_N).mean() > 2
