"""Every column and key that a run writes has a description. Fresh runs of all kinds are held to it where they are made:
tests/search/test_run.py, tests/ablation/test_run.py, tests/convert/test_run.py.
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from nas.convert.score import Score
from nas.data.labels import Labels
from nas.engine.job import Job, Outcome
from nas.metrics import METRICS
from nas.metrics.columns import COLUMNS, KEYS
from nas.profiling import LatencyTable, Throughput
from nas.report.columns import FILES, describe_column, describe_metric
from nas.search.gain import Gain
from nas.train.diagnosis import Diagnosis, LayerDiagnosis
from tests.report.described import undescribed

ROOT = Path(__file__).parents[2]
RUNS = [*(ROOT / "tests/fixtures/v0_1").iterdir(), *(run.parent for run in ROOT.glob("results/published/*/run.yaml"))]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_every_column_and_key_of_a_run_is_described(run: Path) -> None:
    assert undescribed(run) == []


@pytest.mark.parametrize(
    ("file", "written"),
    [
        ("result.json", Outcome),
        ("trial.json", Job),
        ("speed.json", Throughput),
        ("latency.json", LatencyTable),
        ("gain.json", Gain),
        ("diagnosis.csv", LayerDiagnosis),
        ("diagnosis.json", Diagnosis),
    ],
)
def test_a_file_of_one_class_has_its_fields_and_no_others(file: str, written: Any) -> None:
    own = {field.name for field in fields(written)} - {"costs", "directory", "until", "seal"}
    described = {key.split(".")[0] for key in FILES[file].columns} - {
        "version",
        "sha256",
        "metrics_sha256",
        "weights_sha256",
        "trial_sha256",
        "deployed_graph",
    }
    assert described == own


def test_fields_that_are_columns_among_others() -> None:
    assert {field.name for field in fields(Score)} <= set(FILES["scores.csv"].columns)
    assert set(Labels.model_fields) == set(FILES["labels.json"].columns) - {"sha256"}


def test_names_that_a_metric_cannot_have_are_those_of_the_tables() -> None:
    tables = ("trials.csv", "front.csv", "table.csv", "trial.json", "result.json")
    columns = {key.split(".")[0] for file in tables for key in FILES[file].columns}
    assert columns - {name for name in columns if name.startswith("accuracy_")} <= COLUMNS | KEYS


@pytest.mark.parametrize("name", list(METRICS))
def test_a_metric_is_described_wherever_it_is_a_column(name: str) -> None:
    assert describe_metric(name).endswith(".") or describe_metric(name)[0].isupper()
    assert describe_column("trials.csv", name)
    assert describe_column("metrics.csv", "macs") is None


def test_what_is_not_described_is_found(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("epoch,surprise\n1,2\n")
    (tmp_path / "test.json").write_text(json.dumps({"accuracy": 1.0, "novel": 2}))
    (tmp_path / "unheard.json").write_text(json.dumps({"of": 1}))
    assert undescribed(tmp_path) == ["metrics.csv: surprise", "test.json: novel", "unheard.json: of"]
