"""The tables with the accuracy of every epoch: what a training that was stopped early would have shown.

    hash, parameters (JSON), macs, params, seed, then the validation accuracy after epoch 1, 2, 3, ...

64 genomes for 12 epochs, the trainings of interacting.csv; 120 for 6 epochs, replay.yaml's trained again (80 % of their
last accuracies are those of replay.csv to the digit, the others differ by some images). Three seeds each.
The learning rate follows the whole training's schedule, as in a trial that pauses and goes on.

    python -m benchmarks.epochs FOLDER --table replay        from the runs that benchmarks.samplers --make left there
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.replay import FOLDER, SEEDS, Table, complete_trials
from nas.engine import Job, Outcome

TABLES = ("interacting", "replay")
_EPOCH = "epoch_"


class Epochs(Table):
    """A table and its space, epoch by epoch: what a trial finds after each, and how good a set of genomes is.

    >>> Epochs("interacting").tau(1)        # of the ranks after one epoch with those after all
    """

    def __init__(self, name: str):
        table = pd.read_csv(FOLDER / f"{name}-epochs.csv").sort_values("seed", kind="stable")
        first = table[table["seed"] == SEEDS[0]]
        self.epochs = sum(column.startswith(_EPOCH) for column in table)
        by_seed = [
            table[table["seed"] == seed].set_index("hash").loc[first["hash"], _names(self.epochs)] for seed in SEEDS
        ]
        self.accuracy_GSE = np.stack([each.to_numpy(float) for each in by_seed], axis=1)  # genomes, seeds, epochs
        costs = first[["macs", "params"]].to_numpy(int)
        super().__init__(name, first["hash"].tolist(), costs, self.accuracy_GSE[:, :, -1].mean(1))

    def outcome(self, job: Job) -> Outcome:
        """What one of the three trainings shows at the epoch up to which the job goes."""
        seed, until = Random(job.seed).randrange(len(SEEDS)), job.until or self.epochs
        found = float(self.accuracy_GSE[self._row[job.hash], seed, until - 1])
        return Outcome.of(job, "paused" if job.until else "complete", accuracy=found, epochs=until)

    def tau(self, epoch: int) -> float:
        """Kendall's τ of accuracies after `epoch` with those at the end of the same training, mean over seeds."""
        pairs = ((self.accuracy_GSE[:, seed, epoch - 1], self.accuracy_GSE[:, seed, -1]) for seed in range(len(SEEDS)))
        return float(np.mean([stats.kendalltau(early, late).statistic for early, late in pairs]))


def join(runs: dict[int, Path], path: Path) -> None:
    """A row for each training, from the metrics.csv of its trial. runs: by seed."""
    rows = []
    for seed, run in runs.items():
        for name, (job, _) in complete_trials(run).items():
            found = pd.read_csv(job.directory / "metrics.csv")["accuracy"]
            known = [name, json.dumps(job.parameters), job.costs["macs"], job.costs["params"], seed]
            rows.append([*known, *(f"{value:.6f}" for value in found)])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["hash", "parameters", "macs", "params", "seed", *_names(len(found))])
        writer.writerows(rows)


def _names(epochs: int) -> list[str]:
    return [f"{_EPOCH}{epoch}" for epoch in range(1, epochs + 1)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="that of benchmarks.samplers --make")
    parser.add_argument("--table", choices=TABLES, default="replay")
    given = parser.parse_args()
    join({seed: given.folder / f"seed{seed}" for seed in SEEDS}, FOLDER / f"{given.table}-epochs.csv")
