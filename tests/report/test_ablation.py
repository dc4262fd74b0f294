"""A table's rows and main effects, from cells whose effects are known."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pandas as pd
import pytest

from nas.ablation import Ablation, parse_ablation
from nas.report.ablation_rows import effects_of, rows_of
from nas.report.ablation_text import notes_of, speeds, text_table

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
    assert mask == "mask yes − no: +1.00"  # both seeds agree: no interval


def test_a_seed_with_a_missing_cell_does_not_count(ablation: Ablation) -> None:
    table = cells(noise=0.01)
    table.loc[7, "accuracy"] = float("nan")
    assert effects_of(table, ablation)[0] == "local 1-D − none: +4.00"


def test_other_designs_have_none(ablation: Ablation) -> None:
    assert effects_of(cells(0), parse_ablation(SPEC | {"design": "one_at_a_time"})) == []


def table_of(accuracies: dict[str, float | None], **columns: float) -> pd.DataFrame:
    rows = [{"arm": arm, "seed": 1, "accuracy": value} for arm, value in accuracies.items()]
    known = {
        "macs": 1e6,
        "params": 1e5,
        "seconds": 1.0,
        "test_images": 100,
        "state": "complete",
        "local": "",
        "mask": "",
    }
    return pd.DataFrame(rows).assign(**known, **columns)


def test_without_the_baseline_there_is_no_difference(ablation: Ablation) -> None:
    rows = rows_of(table_of({"none": None, "softmax": 0.5}), ablation)
    columns = {column.head: column.cells for column in text_table(rows, [], "").columns}
    assert columns["arm"] == ["softmax"] and columns["Δ [95 % CI]"] == ["–"]


def test_a_mask_without_validation_has_no_columns(ablation: Ablation) -> None:
    """As in a retraining on all images: its mass is known, what the switch costs is not."""
    cells = table_of({"none": 0.4, "softmax": 0.5}, mask_mass=0.1)
    rows = rows_of(cells, ablation)
    assert "switch" not in {column.head for column in text_table(rows, [], "").columns}
    record = {"hardware": {"gpus": ["a GPU"]}, "commit": "abc"}
    assert "Switch" not in notes_of(cells, rows, ablation, record)


def test_the_notes_explain_bold_and_the_number_of_seeds(ablation: Ablation) -> None:
    cells = table_of({"none": 0.4, "softmax": 0.5})
    record = {"hardware": {"gpus": ["a GPU"]}, "commit": "abc"}
    notes = notes_of(cells, rows_of(cells, ablation), ablation, record)
    assert "over seeds, their number in parentheses (2 planned)" in notes
    assert "Bold: above the baseline with" in notes and "no arm is." in notes


TIMED = {"images_per_second": 500.0, "device": "cpu", "dtype": "float32", "batch_size": 64, "threads": 1}


@pytest.mark.parametrize(
    ("columns", "comparable", "note"),
    [
        ({}, False, "^$"),
        (TIMED, False, "by an earlier version"),
        (TIMED | {"deployed_graph": "a", "spread": 1.8}, False, r"disturbed.*took 1\.8 times"),
        (TIMED | {"deployed_graph": "a", "spread": 1.08}, True, r"cpu, float32, batch 64, 1 thread.*at most 1\.08"),
    ],
)
def test_images_per_second_stand_in_the_table_if_they_can_be_compared(
    columns: dict[str, Any], comparable: bool, note: str
) -> None:
    found, said = speeds(table_of({"none": 0.4, "softmax": 0.5}).assign(**columns))
    assert found is comparable and re.search(note, said)
