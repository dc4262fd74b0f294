from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import nas.report.follow as following
from nas.engine import Ledger
from nas.files import write_text
from nas.report.follow import follow
from nas.report.importance import importances
from nas.report.payload import as_json, payload
from nas.report.run import read_run
from tests.report.synthetic import add_trial, write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(write_run(tmp_path_factory.mktemp("payload") / "run"))


def values(found, name):
    column = next(column for column in found["columns"] if column["name"] == name)
    if column["kind"] == "text":
        return [None if code < 0 else column["levels"][code] for code in column["codes"]]
    return column["values"]


def test_the_columns_say_what_trials_csv_says(run):
    found = payload(run)
    assert values(found, "trial") == run.trials["trial"].tolist()
    assert values(found, "state") == run.trials["state"].tolist()
    known = run.trials["accuracy"].notna()
    read = pd.Series(values(found, "accuracy"), dtype=float)
    assert (read.isna() == ~known).all()
    np.testing.assert_allclose(read[known], run.trials["accuracy"][known], rtol=1e-5)
    assert [values(found, "trial")[row] for row in found["front"]] == run.front["trial"].tolist()
    assert found["curves"][-2] is None  # refused, never trained
    assert len(found["curves"][0]) == 4


def test_every_column_is_explained(run):
    assert [column["name"] for column in payload(run)["columns"] if not column["about"]] == []


def test_it_is_json_that_no_text_of_a_run_can_end():
    text = as_json({"reason": "</script><b>"})
    assert "<" not in text
    assert json.loads(text) == {"reason": "</script><b>"}
    with pytest.raises(ValueError, match="Out of range"):
        as_json([float("nan")])


def test_what_decides_is_important_and_what_does_not_is_not():
    rng = np.random.default_rng(0)
    trials = pd.DataFrame({"state": "complete", "split": rng.integers(1, 4, 200), "core": rng.choice(["a", "b"], 200)})
    trials["accuracy"] = 0.5 + 0.1 * trials["split"] + 0.01 * rng.random(200)
    found = importances(trials, ["core", "split"])
    assert found.parameters == ["split", "core"]
    assert found.mean[0] > 0.5
    assert abs(found.mean[1]) < 0.05
    assert found.r2 > 0.9
    assert importances(trials.head(8), ["core", "split"]) is None


def test_a_run_is_followed_until_it_ends(tmp_path, monkeypatch):
    directory = write_run(tmp_path / "run", trials=3)
    slept = []

    def sleep(seconds):
        """Meanwhile, the search ends."""
        slept.append(seconds)
        ledger = Ledger(directory)
        add_trial(ledger, "complete", accuracy=0.99, macs=100_000)
        front = read_run(directory).front.assign(throughput_measured=1.0)
        front["winner"] = [f"w{rank}-{trial:04d}" for rank, trial in enumerate(front["trial"], start=1)]
        write_text(directory / "front.csv", front.to_csv(index=False))

    monkeypatch.setattr(following.time, "sleep", sleep)
    pages = [page.read_text() for page in follow(directory, every=60)]
    assert len(pages) == 2
    assert '"refresh":60' in pages[0]
    assert '"refresh":null' in pages[1]
    assert 0 < slept[0] <= 60
