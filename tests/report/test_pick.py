from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import nas
from nas.errors import RunError, SpecError
from nas.report.pick import best_winner
from tests.report.synthetic import write_facts

COLUMNS = ["trial", "state", "accuracy", "accuracy_se", "macs", "throughput", "latency", "winner"]
ROWS = [
    ("0004", "complete", 0.97, 0.01, 900_000, 9_000.0, None, "w1-0004", 4_000.0, 0.95),
    ("0002", "complete", 0.95, 0.01, 700_000, 9_500.0, 5.0, "w2-0002", 5_000.0, 0.93),
    ("0000", "complete", 0.90, 0.01, 400_000, 9_900.0, 3.0, "w3-0000", 8_000.0, 0.91),
]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_facts(tmp_path)
    front = pd.DataFrame(ROWS, columns=[*COLUMNS, "throughput_measured", "accuracy_test"])
    front = front.assign(epochs=4, params=None, seed=0, hash=["aa11", "bb22", "cc33"], seconds=6.0, reason=None)
    front.to_csv(tmp_path / "front.csv", index=False)
    front.drop(columns="winner").to_csv(tmp_path / "trials.csv", index=False)
    return tmp_path


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ({}, "w1-0004"),
        ({"macs": 700_000}, "w2-0002"),
        ({"macs": 699_999}, "w3-0000"),
        ({"throughput": 4_500}, "w2-0002"),  # as measured: predicted, the first would do
        ({"macs": 1e6, "throughput": 6_000}, "w3-0000"),
        ({"latency": 10}, "w2-0002"),  # the first has no value of it
        ({"macs": None}, "w1-0004"),
    ],
)
def test_the_best_within_the_limits(run: Path, limits: dict[str, float], name: str) -> None:
    found = best_winner(run, limits)
    assert (found.name, found.genome) == (name, run / "winners" / f"{name}.yaml")
    assert nas.best_winner(run, **limits) == found


def test_a_winner_says_what_it_is(run: Path) -> None:
    found = best_winner(run, {})
    assert found.metrics == {"accuracy": 0.97, "macs": 900_000, "throughput": 4_000}
    assert str(found) == "w1-0004: accuracy 97.00 ± 1.00 %, 900 k MACs, 4,000 images/s; test 95.00 %"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"macs": 360_000}, r"no winner is within .*, w3-0000: macs 400,000 is over the budget of 360,000 by 11"),
        ({"macs": 500_000, "throughput": 8_100}, r"nearest, w3-0000: throughput 8,000 is below the least of 8,100"),
        ({"mac": 1}, r"limits: mac: unknown key; allowed: .* \(did you mean macs\?\)"),
        ({"accuracy": 1}, r"limits: accuracy: known only after a training, so no budget"),
        ({"macs": "0.8x"}, r"limits: macs: expected a number, found '0.8x'"),
        ({"macs": -1}, r"limits: macs: expected more than 0, found -1"),
        ({"peak_memory": 1e6}, r"limits: peak_memory: the front has no such values; it has macs, throughput, latency"),
    ],
)  # fmt: skip
def test_mistakes(run: Path, limits: dict[str, float], message: str) -> None:
    with pytest.raises(RunError, match=message):
        best_winner(run, limits)


def test_runs_without_winners(run: Path) -> None:
    (run / "front.csv").unlink()
    with pytest.raises(RunError, match=r"the run has no winners: front.csv is written at its end"):
        best_winner(run, {})
    with pytest.raises(RunError, match=r"not a run: no such directory"):
        best_winner(run / "none", {})


def _looping(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (os.mkfifo, "a pipe or a device"),
        (os.mkdir, "directory"),
        (_looping, "symbolic links"),
        (Path.touch, "empty; restore it, or choose another run"),
    ],
)
def test_a_record_that_is_no_file_is_called_what_it_is(tmp_path: Path, make: Any, said: str) -> None:
    make(tmp_path / "run.yaml")
    with pytest.raises(SpecError, match=said) as caught:
        best_winner(tmp_path, {})
    assert "not a run" not in str(caught.value)
