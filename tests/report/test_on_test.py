"""What is said of winners after the look at test, and standard errors beside every accuracy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.numbers import standard_error
from nas.report.on_test import said_on_test
from nas.report.tables import rows, with_error


def front(*test: float, images: int = 360) -> pd.DataFrame:
    count = len(test)
    return pd.DataFrame(
        {
            "winner": [f"w{rank}-{rank:04d}" for rank in range(1, count + 1)],
            "hash": [f"hash{rank}" for rank in range(1, count + 1)],
            "accuracy": [0.97] * count,
            "accuracy_test": test,
            "accuracy_test_se": [standard_error(each, images) if each == each else math.nan for each in test],
        }
    )


@given(st.integers(1, 2000), st.data())
def test_the_standard_error_is_that_of_a_mean(images: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, images))
    error = standard_error(right / images, images)
    assert error > 0
    if 0 < right < images:
        answers = torch.cat([torch.ones(right), torch.zeros(images - right)]).double()
        assert error == pytest.approx(float(answers.std(unbiased=False)) / images**0.5)


def test_288_images_leave_a_point() -> None:
    assert with_error("accuracy", 0.965, standard_error(0.965, 288)) == "96.50 ± 1.08"


def test_an_accuracy_has_its_error_beside_it_where_it_is_known() -> None:
    frame = pd.DataFrame({"accuracy": [0.965, 0.9], "accuracy_se": [0.0108, np.nan], "macs": [10, 20]})
    assert rows(frame, ["accuracy", "macs"]) == [["96.50 ± 1.08", "10"], ["90.00", "20"]]


def test_winners_that_differ_by_less_than_their_errors_are_not_told_apart() -> None:
    told = said_on_test(front(0.955, 0.961), base="another")
    assert told[0].startswith("On test, the winners are 1.20 points below their accuracy on validation")
    assert told[1].startswith("Test does not tell any two of them apart")
    assert "0.60 ± 1.49 points (w2-0002 over w1-0001)" in told[1]
    assert len(told) == 2


def test_winners_that_differ_by_more_are() -> None:
    told = said_on_test(front(0.955, 0.80, 0.79, images=1000), base="hash3")
    assert told[1].startswith("Test tells 2 of 3 pairs apart")
    assert told[2].startswith("Against the base genome, which is w3-0003, in points on test: w1-0001 +16.50 ± 1.4")


@pytest.mark.parametrize("known", [front(), front(math.nan, math.nan), front(0.9).drop(columns="accuracy_test_se")])
def test_nothing_is_said_before_test_was_read(known: pd.DataFrame) -> None:
    assert said_on_test(known, base="") == []


def test_one_winner_is_compared_with_validation_alone() -> None:
    assert said_on_test(front(0.98), base="hash1") == [
        "On test, the winner is 1.00 points above its accuracy on validation, which chose it."
    ]
