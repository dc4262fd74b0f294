"""The anytime record: from trial directories, with compute that was spent in vain counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.engine import Ledger, Outcome
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.anytime import BASELINE, anytime
from tests.search.simulation import LAVIT, Simulation

OBJECTIVES = ["accuracy", "macs"]


def ended(ledger: Ledger, state: str, accuracy: float | None, macs: int, seconds: float, second: int) -> None:
    job = ledger.add(None, seed=0, hash=str(ledger.next_number), parameters={}, costs={"macs": macs, "params": 1})
    finished = f"2026-01-31T12:00:{second:02d}+00:00"
    outcome = Outcome.of(job, state, accuracy=accuracy, seconds=seconds, finished=finished)  # type: ignore[arg-type]
    ledger.finish(job, outcome)


def test_rows_follow_the_order_in_which_trials_ended(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ended(ledger, "complete", 0.5, 100, 10.0, second=30)
    ended(ledger, "complete", 0.9, 50, 20.0, second=10)
    ended(ledger, "failed", None, 80, 5.0, second=20)
    ended(ledger, "infeasible", None, 900, 0.0, second=5)
    ended(ledger, "pruned", 0.99, 10, 1.0, second=40)
    record = anytime(Ledger(tmp_path), OBJECTIVES)
    assert record["trials"].tolist() == [1, 2, 3, 4]
    assert record["worker_seconds"].tolist() == [20.0, 25.0, 35.0, 36.0]
    assert record["hypervolume"].tolist() == pytest.approx([1.0, 1.0, 1.0, 1.0]), "the first one dominates the others"


def test_search_and_baseline_share_their_reference(tmp_path: Path) -> None:
    space = SearchSpec.parse(parse_yaml(LAVIT) | {"trials": 10})
    Simulation(space, tmp_path).run()
    Simulation(space.with_settings({"sampler": "random"}), tmp_path / BASELINE).run()
    record = anytime(Ledger(tmp_path), OBJECTIVES)
    assert record["run"].tolist() == ["search"] * 10 + [BASELINE] * 10
    for _, rows in record.groupby("run"):
        assert (rows["hypervolume"].diff().dropna() >= -1e-12).all()
        assert 0 < rows["hypervolume"].iloc[-1] <= 1.0
    assert record["hypervolume"].max() == pytest.approx(1.0, abs=0.2)


def test_nothing_complete_is_an_empty_record(tmp_path: Path) -> None:
    ended(Ledger(tmp_path), "failed", None, 80, 5.0, second=20)
    assert len(anytime(Ledger(tmp_path), OBJECTIVES)) == 0
