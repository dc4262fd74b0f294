"""Run directories without training: the files that a search leaves, with numbers made up from a seed."""

from __future__ import annotations

import random
from pathlib import Path

from nas.engine import Job, Ledger, Outcome
from nas.files import write_text
from nas.genome import load_genome
from nas.plain_yaml import dump_yaml

SPEC = {
    "name": "lavit_split",
    "base": "lavit_digits",
    "objectives": {"accuracy": "max", "macs": "min"},
    "budget": {"macs": 400_000},
    "data": "digits",
    "training": {"epochs": 4},
}


def write_facts(directory: Path, **spec: object) -> None:
    facts = {
        "name": directory.name,
        "kind": "search",
        "spec": SPEC | spec,
        "seed": 0,
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "hardware": {"cpu": "a processor", "cores": 2, "memory_gb": 16, "gpus": []},
        "created": "2026-01-31T12:00:00+00:00",
        "command": "nas search lavit_split",
        "commit": None,
    }
    write_text(directory / "run.yaml", dump_yaml(facts))


def add_trial(
    ledger: Ledger, state: str, *, accuracy: float | None = None, macs: int | None = None, **more: object
) -> Job:
    """One trial in `state`; `running` leaves it without a result, after two epochs."""
    number = len(ledger.trials)
    split = 1 + (number + 1) % 3  # the base's, in trial 0
    genome = load_genome("lavit_digits").edit({"stages.0.split": split, "drop_path": number / 1000})
    costs = {"macs": macs, "params": macs // 5, "throughput": 4e10 / (macs + 3e5)} if macs else {}
    job = ledger.add(genome, seed=number, hash=genome.hash, parameters={"stages.0.split": split}, costs=costs)
    epochs = {"complete": 4, "running": 2, "failed": 1}.get(state, 0)
    if epochs:
        final = accuracy or 0.6
        rows = [f"{e},{2.0 / e:.4f},{final * (1 - 0.6 / (1 + e * e)):.4f},1.5" for e in range(1, epochs + 1)]
        (job.directory / "metrics.csv").write_text("\n".join(["epoch,loss,accuracy,seconds", *rows]) + "\n")
    if state == "failed":
        (job.directory / "failure.txt").write_text("Traceback (most recent call last):\n  <b>boom</b>\n")
    if state != "running":
        ledger.finish(job, Outcome.of(job, state, accuracy=accuracy, epochs=epochs, seconds=6.0, **more))  # type: ignore[arg-type]
    return job


def write_run(directory: Path, trials: int = 24, seed: int = 0) -> Path:
    """A search that ended well for the most part: every state occurs."""
    write_facts(directory)
    ledger, rng = Ledger(directory), random.Random(seed)
    for number in range(trials):
        macs = 300_000 if number == 0 else rng.randrange(150_000, 390_000)
        accuracy = 0.99 - 0.3 * (1.5e5 / macs) ** 3 - 0.05 * rng.random()
        add_trial(ledger, "complete", accuracy=accuracy, macs=macs)
    add_trial(ledger, "failed", macs=200_000, reason="training diverged: <loss> is not finite in epoch 2")
    add_trial(ledger, "infeasible", macs=500_000, reason="macs 500000 over the budget of 400000")
    add_trial(ledger, "running", macs=210_000)
    ledger.write_table()
    return directory
