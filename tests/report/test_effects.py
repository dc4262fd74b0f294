"""Main effects of a factorial design, from cells whose effects are known."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd
import pytest

from nas.ablation import Ablation, parse_ablation
from nas.report.ablation import effects_of

SPEC: dict[str, Any] = {
    "base": "castling_digits",
    "factors": {
        "local": {"none": {"stages.*.local": None}, "1-D": {}},
        "mask": {"no": {"stages.*.auxiliary": None}, "yes": {}},
    },
    "arms": {"softmax": {"stages.*.core": "softmax", "stages.*.auxiliary": None}},
    "seeds": 2,
}


@pytest.fixture
def ablation() -> Ablation:
    return parse_ablation(SPEC)


def cells(noise: float) -> pd.DataFrame:
    """local is worth 4 points, mask 1, and the second seed has `noise` more of the first."""
    rows = [
        {"seed": seed, "local": local, "mask": mask, "accuracy": 0.3 + local_gain + 0.01 * (mask == "yes")}
        for seed, local, mask in itertools.product((1, 2), ("none", "1-D"), ("no", "yes"))
        for local_gain in [(0.04 + noise * (seed == 2)) * (local == "1-D")]
    ]
    return pd.DataFrame([*rows, {"seed": 1, "local": "", "mask": "", "accuracy": 0.9}])


def test_each_level_against_the_first_of_its_factor(ablation: Ablation) -> None:
    local, mask = effects_of(cells(noise=0.01), ablation)
    assert local == "local 1-D − none: +4.50 [−1.85, +10.85]"  # t(0.975, 1) = 12.71, standard error 0.5
    assert mask.startswith("mask yes − no: +1.00 [")


def test_a_seed_with_a_missing_cell_does_not_count(ablation: Ablation) -> None:
    table = cells(noise=0.01)
    table.loc[7, "accuracy"] = float("nan")
    assert effects_of(table, ablation)[0] == "local 1-D − none: +4.00"


def test_other_designs_have_none(ablation: Ablation) -> None:
    assert effects_of(cells(0), parse_ablation(SPEC | {"design": "one_at_a_time"})) == []
