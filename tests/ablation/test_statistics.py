"""Paired differences and Holm's correction against scipy and against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from nas.ablation.statistics import binomial_floor, holm, paired

accuracies = st.lists(st.floats(0, 100), min_size=2, max_size=8)


def test_paired_difference_by_hand() -> None:
    found = paired([72.0, 74.0, 73.0], [70.0, 71.0, 72.0])
    assert found.delta == pytest.approx(2.0)
    half = 4.302653 * 1.0 / math.sqrt(3)  # t(0.975, 2 degrees), std of (2, 3, 1) is 1
    assert (found.low, found.high) == pytest.approx((2 - half, 2 + half), rel=1e-5)
    assert found.p == pytest.approx(stats.ttest_rel([72, 74, 73], [70, 71, 72]).pvalue)


def test_one_seed_has_no_interval() -> None:
    found = paired([72.0], [70.0])
    assert found.delta == 2.0
    assert math.isnan(found.low) and math.isnan(found.p)


def test_seeds_that_agree_exactly() -> None:
    """Luck, and no certainty: 71.3 - 70.1 and 70.9 - 69.7 differ in the sixteenth digit alone."""
    for arm, baseline in (([70.0, 71.0], [70.0, 71.0]), ([71.3, 70.9], [70.1, 69.7])):
        delta, *interval = paired(arm, baseline)
        assert delta == pytest.approx(arm[0] - baseline[0]) and all(map(math.isnan, interval))


@given(accuracies, st.data())
def test_interval_and_test_agree(arm: list[float], data: st.DataObject) -> None:
    """The 95 % interval excludes zero exactly where p is below 0.05."""
    baseline = data.draw(st.lists(st.floats(0, 100), min_size=len(arm), max_size=len(arm)))
    found = paired(arm, baseline)
    if abs(found.p - 0.05) > 1e-6:
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert math.isnan(holm([float("nan"), 0.04])[0]) and holm([float("nan"), 0.04])[1] == pytest.approx(0.04)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_holm_never_lowers_and_keeps_order(p_values: list[float]) -> None:
    corrected = holm(p_values)
    assert all(c >= p for c, p in zip(corrected, p_values, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [corrected[i] for i in order] == sorted(corrected)


def test_binomial_floor_of_ten_thousand_images() -> None:
    assert 100 * binomial_floor(0.95, 10_000) == pytest.approx(0.218, abs=1e-3)
