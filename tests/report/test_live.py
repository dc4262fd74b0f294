from __future__ import annotations

import io
import pickle

from rich.console import Console

from nas.engine import Event, Ledger
from nas.report.live import Progress
from tests.report.synthetic import add_trial, write_facts


def watching(*, terminal: bool) -> tuple[Progress, io.StringIO]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=110, color_system=None, highlight=False)
    return Progress(trials=8, epochs=4, objectives=["accuracy", "macs"], console=console), file


def outcome(state: str, accuracy: float | None = None, macs: int = 100_000, reason: str | None = None) -> dict:
    return {"state": state, "accuracy": accuracy, "macs": macs, "seconds": 2.0, "reason": reason}


def test_a_log_has_a_line_for_each_trial_that_ends():
    progress, file = watching(terminal=False)
    with progress:
        progress(Event("started", "0000", {}))
        progress(Event("epoch", "0000", {"epoch": 1, "accuracy": 0.5}))
        progress(Event("ended", "0000", outcome("complete", 0.9)))
        progress(Event("refused", "0001", outcome("infeasible", macs=900_000, reason="over the budget")))
        progress(Event("started", "0002", {}))
        progress(Event("ended", "0002", outcome("failed", reason="out of memory: [tried] 3 GB")))
    assert file.getvalue().splitlines() == [
        "trial 0000 complete: 90.00 %, 100 k MACs, 2.0 s (1 of 8)",
        "trial 0001 infeasible: 900 k MACs, 2.0 s, over the budget (1 of 8)",
        "trial 0002 failed: 100 k MACs, 2.0 s, out of memory: [tried] 3 GB (2 of 8)",
    ]


def test_a_line_names_the_costs_that_are_objectives():
    file = io.StringIO()
    console = Console(file=file, width=110, color_system=None, highlight=False)
    ended = outcome("complete", 0.9) | {"latency": 1.5, "peak_memory": 540_136}
    with Progress(trials=8, epochs=4, objectives=["accuracy", "latency", "peak_memory"], console=console) as p:
        p(Event("ended", "0000", ended))
    assert file.getvalue() == "trial 0000 complete: 90.00 %, 100 k MACs, 1.50 ms, 0.54 MB, 2.0 s (1 of 8)\n"


def test_the_terminal_counts_what_an_earlier_session_left(tmp_path):
    write_facts(tmp_path)
    ledger = Ledger(tmp_path)
    add_trial(ledger, "complete", accuracy=0.9, macs=100_000)
    add_trial(ledger, "complete", accuracy=0.8, macs=100_000)
    add_trial(ledger, "infeasible", macs=900_000)
    add_trial(ledger, "running")
    progress, file = watching(terminal=True)
    progress(Event("resumed", data={"table": ledger.table()}))
    assert "resuming: 3 trials have ended before" in file.getvalue()
    progress(Event("started", "0003", {}))
    progress(Event("epoch", "0003", {"epoch": 2, "accuracy": 0.5}))
    progress(Event("ended", "0004", outcome("complete", 0.95, macs=200_000)))
    progress.console.print(progress._render())
    text = file.getvalue()
    assert "3/8 · best 95.00 % · front 2 · refused 1 · 0:00:0" in text
    assert "left" in text
    assert "  0003  epoch   2/4  50.00 %" in text


def test_a_trial_that_is_trained_again_counts_once_and_a_baselines_beside_it(tmp_path):
    write_facts(tmp_path)
    ledger = Ledger(tmp_path)
    add_trial(ledger, "complete", accuracy=0.9, macs=100_000)
    add_trial(ledger, "pruned")
    progress, file = watching(terminal=False)
    progress(Event("resumed", data={"table": ledger.table()}))
    progress(Event("ended", "0001", outcome("pruned")))  # its pauses were deleted
    assert progress.trained == 2
    progress(Event("resumed", data={"table": Ledger(tmp_path / "baseline").table()}))
    progress(Event("ended", "0000", outcome("complete", 0.8)))
    progress(Event("ended", "0001", outcome("failed")))
    assert progress.trained == 4 and progress.before == 2
    progress(Event("resumed", data={"table": ledger.table()}))  # a baseline that goes on
    assert (progress.trained, progress.before) == (6, 4)
    assert file.getvalue().count("resuming: 2 trials have ended before") == 2


def test_ray_may_pickle_the_listener():
    progress, _ = watching(terminal=True)
    with progress:
        pickle.dumps(progress)
