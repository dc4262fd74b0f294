from __future__ import annotations

import io

import pandas as pd
import pytest
from rich.console import Console

from nas.numbers import magnitude
from nas.report.tables import cell, front_columns, front_table, heading


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (7, "7"), (980, "980"), (999.6, "1.00 k"), (1_234_567, "1.23 M"), (55_000, "55.0 k"),
        (4.6e9, "4.60 G"), (99_960, "100 k"), (999_999, "1.00 M"), (2.5e12, "2.50 T"), (0.25, "0.25"),
    ],
)  # fmt: skip
def test_magnitudes_have_three_digits(value, text):
    assert magnitude(value) == text


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("accuracy", 0.97222, "97.22"), ("accuracy", float("nan"), "–"), ("macs", pd.NA, "–"), ("trial", 7, "7"),
        ("macs", 928384, "928 k"), ("throughput_measured", 4829.3, "4,829"), ("reason", None, "–"),
        ("stages.0.split", 2, "2"), ("loss.diagonal.weight", 0.0123456, "0.01235"),
        ("peak_memory", 25_895_584, "25.9"), ("peak_memory", 1.2345e9, "1,234"), ("latency_measured", 12.3, "12.30"),
        ("of_a_plug_in", 12.3456, "12.35"),
    ],
)  # fmt: skip
def test_cells_carry_the_unit_of_their_heading(column, value, text):
    assert cell(column, value) == text


def front(**columns):
    base = {"trial": [3, 5], "accuracy": [0.9, 0.8], "macs": [200_000, 100_000], "params": [10, 20]}
    return pd.DataFrame(base | {"throughput": [100.0, 200.0]} | columns)


def test_winners_replace_trials_and_measured_throughput_replaces_the_estimate():
    assert front_columns(front())[0] == "trial"
    named = front(winner=["w1-0003", "w2-0005"], throughput_measured=[90.0, 180.0])
    assert front_columns(named) == ["winner", "accuracy", "macs", "params", "throughput_measured"]
    unmeasured = front(winner=["w1-0003", "w2-0005"], throughput_measured=[None, None], throughput=[None, None])
    assert front_columns(unmeasured) == ["winner", "accuracy", "macs", "params"]


def test_further_metrics_have_columns_with_their_unit():
    columns = front_columns(front(latency=[1.0, 2.0], latency_measured=[1.5, 2.5], peak_memory=[10, 20], depth=[3, 4]))
    assert columns == ["trial", "accuracy", "macs", "params", "throughput", "latency_measured", "peak_memory"]
    assert [heading(name) for name in columns[-2:]] == ["latency ms", "memory MB"]


def test_the_terminal_table_keeps_order_and_describes_genomes():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(front_table(front(), {3: "softmax ×2", 5: "less ×2"}))
    lines = console.export_text().splitlines()
    assert lines[2].split() == ["3", "90.00", "200", "k", "10", "100", "softmax", "×2"]
    assert lines[3].rstrip().endswith("less ×2")
