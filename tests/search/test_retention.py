"""Weights of trials far from the front go, the others stay; a new session comes to the same."""

from __future__ import annotations

from pathlib import Path

from nas.engine import Event, Job, Ledger, Outcome
from nas.search.retention import WeightRetention

OBJECTIVES = ["accuracy", "macs"]


def trained(ledger: Ledger, accuracy: float, macs: int, genome: str = "") -> Job:
    number = ledger.next_number
    job = ledger.add(None, seed=0, hash=genome or str(number), parameters={}, costs={"macs": macs, "params": 1})
    (job.directory / "weights.safetensors").write_text("weights")
    ledger.finish(job, Outcome.of(job, "complete", accuracy=accuracy))
    return job


def kept(ledger: Ledger) -> list[str]:
    return sorted(path.parent.name for path in ledger.folder.glob("*/weights.safetensors"))


def test_three_fronts_keep_their_weights(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    retention = WeightRetention(ledger, OBJECTIVES, repeat=1)
    for accuracy in (0.5, 0.6, 0.7, 0.8, 0.9):  # each dominates all before it
        retention(Event("ended", trained(ledger, accuracy, 100).id))
    assert kept(ledger) == ["0002", "0003", "0004"]
    retention(Event("ended", trained(ledger, 0.1, 10).id))
    assert "0005" in kept(ledger), "the cheapest of all is on the front"

    for path in ("0000", "0001"):
        (ledger.folder / path / "weights.safetensors").touch()
    WeightRetention(Ledger(tmp_path), OBJECTIVES, repeat=1)
    assert kept(ledger) == ["0002", "0003", "0004", "0005"]


def test_of_repeats_the_first_stays_and_the_mean_decides(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    retention = WeightRetention(ledger, OBJECTIVES, repeat=2)
    for genome, accuracies in {"a": (0.5, 0.9), "b": (0.8, 0.8), "c": (0.81, 0.81), "d": (0.9, 0.9)}.items():
        for accuracy in accuracies:
            retention(Event("ended", trained(ledger, accuracy, 100, genome).id))
    assert kept(ledger) == ["0002", "0004", "0006"], "a, with a mean of 0.7, is behind three others"
