from __future__ import annotations

import os
import shutil

import pandas as pd
import pytest

from nas.engine import Ledger
from nas.errors import RunError
from nas.report.run import read_run
from tests.report.synthetic import add_trial, write_facts, write_run


def test_states_and_front_come_from_the_trial_directories(tmp_path):
    run = read_run(write_run(tmp_path / "run"))
    assert run.trials["state"].value_counts().to_dict() == {"complete": 24, "failed": 1, "infeasible": 1, "running": 1}
    assert set(run.front["state"]) == {"complete"}
    better = run.front.sort_values("macs")["accuracy"]
    assert better.is_monotonic_increasing
    assert len(run.curves) == 26  # all but the one that was refused
    assert run.failures[0][1].startswith("training diverged")
    assert "<b>boom</b>" in run.failures[0][2]


def test_stale_tables_do_not_matter(tmp_path):
    directory = write_run(tmp_path / "run")
    (directory / "trials.csv").write_text("nonsense")
    assert len(read_run(directory).trials) == 27


def test_the_written_front_counts_until_a_trial_ends_after_it(tmp_path):
    directory = tmp_path / "run"
    write_facts(directory)
    ledger = Ledger(directory)
    add_trial(ledger, "complete", accuracy=0.9, macs=100_000)
    add_trial(ledger, "complete", accuracy=0.8, macs=100_000)
    front = ledger.table().tail(1).assign(winner="w1-0001", throughput_measured=50.0)  # 0 missed its budget
    front.to_csv(directory / "front.csv", index=False)
    run = read_run(directory)
    assert run.ended
    assert run.front["winner"].tolist() == ["w1-0001"]

    job = add_trial(ledger, "complete", accuracy=0.95, macs=120_000)
    later = (directory / "front.csv").stat().st_mtime_ns + 10**9
    os.utime(job.directory / "result.json", ns=(later, later))
    run = read_run(directory)
    assert not run.ended
    assert sorted(run.front["trial"]) == [0, 2]


def test_a_published_run_has_only_its_tables(tmp_path):
    directory = write_run(tmp_path / "run")
    whole = read_run(directory)
    whole.front.to_csv(directory / "front.csv", index=False)
    shutil.rmtree(directory / "trials")
    published = read_run(directory)
    pd.testing.assert_series_equal(published.trials["accuracy"], whole.trials["accuracy"])
    assert published.front["trial"].tolist() == whole.front["trial"].tolist()
    assert published.curves == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such directory"),
        ({}, "it has no run.yaml"),
        ({"run.yaml": "- 1"}, r"run\.yaml: expected a mapping, found \[1\]"),
    ],
)
def test_what_is_not_a_run_is_refused(tmp_path, content, message):
    directory = tmp_path / "run"
    if content is not None:
        directory.mkdir()
        for name, text in content.items():
            (directory / name).write_text(text)
    with pytest.raises(RunError, match=message):
        read_run(directory)


def test_a_hash_that_looks_like_a_number_stays_text(tmp_path):
    directory = write_run(tmp_path / "run")
    table = read_run(directory).trials
    numeric = [f"{1234567890 + row}e5" for row in range(len(table))]  # were the whole column floats, 1.2e+14
    shutil.rmtree(directory / "trials")
    table.assign(hash=numeric).to_csv(directory / "trials.csv", index=False)
    assert read_run(directory).trials["hash"].tolist() == numeric
