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
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.replay import FOLDER, SEEDS, complete_trials
from nas.engine import Job, Outcome
from nas.genome import Genome
from nas.metrics import Costs
from nas.search import SearchSpec, hypervolume, load_space
from nas.search.pareto import reference_of
from nas.search.space import SearchSpace

TABLES = ("interacting", "replay")


class Epochs:
    """A table and its space, epoch by epoch: what a trial finds after each, and how good a set of genomes is.

    >>> Epochs("interacting").tau(1)        # of the ranks after one epoch with those after all
    """

    def __init__(self, name: str):
        self.spec: SearchSpec = load_space(FOLDER / f"{name}.yaml")
        self.epochs = self.spec.training.epochs
        self.space: SearchSpace = self.spec.space(self.spec.genome())
        table = pd.read_csv(FOLDER / f"{name}-epochs.csv").sort_values("seed", kind="stable")
        first = table[table["seed"] == SEEDS[0]]
        self._row = {name: index for index, name in enumerate(first["hash"])}
        self._cost = first[["macs", "params"]].to_numpy(int)
        by_seed = [
            table[table["seed"] == seed].set_index("hash").loc[first["hash"], _names(self.epochs)] for seed in SEEDS
        ]
        self.accuracy_GSE = np.stack([each.to_numpy(float) for each in by_seed], axis=1)  # genomes, seeds, epochs
        self._points_N2 = np.stack([-self.accuracy_GSE[:, :, -1].mean(1), self._cost[:, 0]], axis=1)
        self._reference_2 = reference_of(self._points_N2)

    def __len__(self) -> int:
        return len(self._row)

    def estimate(self, genome: Genome) -> Costs:
        macs, params = self._cost[self._row[genome.hash]]
        return {"macs": int(macs), "params": int(params)}

    def outcome(self, job: Job) -> Outcome:
        """What one of the three trainings shows at the epoch up to which the job goes."""
        seed, until = Random(job.seed).randrange(len(SEEDS)), job.until or self.epochs
        found = float(self.accuracy_GSE[self._row[job.hash], seed, until - 1])
        return Outcome.of(job, "paused" if job.until else "complete", accuracy=found, epochs=until)

    def share(self, tried: Collection[str]) -> float:
        """Hypervolume (mean accuracy after all epochs, MACs) of genomes trained to the end, as a share of all."""
        points_N2 = self._points_N2[[self._row[name] for name in tried]]
        return hypervolume(points_N2, self._reference_2) / self._volume

    @cached_property
    def _volume(self) -> float:
        return hypervolume(self._points_N2, self._reference_2)

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
    return [f"epoch_{epoch}" for epoch in range(1, epochs + 1)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epochs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="that of benchmarks.samplers --make")
    parser.add_argument("--table", choices=TABLES, default="replay")
    given = parser.parse_args()
    join({seed: given.folder / f"seed{seed}" for seed in SEEDS}, FOLDER / f"{given.table}-epochs.csv")
