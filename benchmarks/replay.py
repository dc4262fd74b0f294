"""The replayable tables: every genome of a small space (replay.yaml, interacting.yaml), trained with three seeds.

    hash, parameters (JSON), macs, params, then the validation accuracy that each seed gave

The effects of replay.csv nearly add up (R² of the additive model of the three seeds' means: 0.92), those of
interacting.csv do not (0.64; a test holds it below 0.8).

`python -m benchmarks.samplers --make FOLDER --table replay` makes one with `nas search` itself: an exhaustive grid for
each seed, run in FOLDER (20 and 10 minutes on two idle cores; again with the same folder: resumes). A seed is a root
seed, so that it changes the validation split, the initial weights and the order of the images.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd

from nas.engine import Job, Outcome
from nas.genome import Genome
from nas.metrics import Costs
from nas.search import SearchSpec, hypervolume, load_space
from nas.search.pareto import reference_of
from nas.search.space import SearchSpace

FOLDER = Path(__file__).parent
TABLE = FOLDER / "replay.csv"
SEEDS = (0, 1, 2)
_ACCURACIES = [f"accuracy_{seed}" for seed in SEEDS]


class Table:
    """Every genome of a small space with its costs and the mean accuracy of its trainings: how good is a set of them?

    cost_N2: MACs and parameters, of N genomes in the order of `hashes`.
    """

    def __init__(self, name: str, hashes: list[str], cost_N2: np.ndarray, mean_N: np.ndarray):
        self.spec: SearchSpec = load_space(FOLDER / f"{name}.yaml")
        self.space: SearchSpace = self.spec.space(self.spec.genome())
        self.hashes = hashes
        self._row = {name: index for index, name in enumerate(hashes)}
        self._cost, self._mean = cost_N2, mean_N
        self._points_N2 = np.stack([-mean_N, cost_N2[:, 0]], axis=1)
        self._reference_2 = reference_of(self._points_N2)

    def estimate(self, genome: Genome) -> Costs:
        macs, params = self._cost[self._row[genome.hash]]
        return {"macs": int(macs), "params": int(params)}

    def regret(self, tried: Collection[str]) -> float:
        """Best mean accuracy of the table, less that of the genomes that were tried."""
        return float(self._mean.max() - self._mean[[self._row[name] for name in tried]].max())

    def share(self, tried: Collection[str]) -> float:
        """Hypervolume (mean accuracy, MACs) of the genomes that were tried, as a share of the table's."""
        return hypervolume(self._points_N2[[self._row[name] for name in tried]], self._reference_2) / self._volume

    @cached_property
    def _volume(self) -> float:
        return hypervolume(self._points_N2, self._reference_2)


class Replay(Table):
    """A table and its space: what a trial of one of its genomes finds, and how good a set of genomes is.

    >>> replay = Replay("replay")
    >>> replay.regret(replay.hashes), replay.share(replay.hashes)
    (0.0, 1.0)
    """

    def __init__(self, name: str = "replay"):
        table = pd.read_csv(FOLDER / f"{name}.csv", index_col="hash")
        self._accuracy = table[_ACCURACIES].to_numpy(float)
        super().__init__(name, table.index.tolist(), table[["macs", "params"]].to_numpy(int), self._accuracy.mean(1))

    def outcome(self, job: Job) -> Outcome:
        """What one of the three trainings found; which one is drawn by the trial's seed."""
        accuracy = self._accuracy[self._row[job.hash], Random(job.seed).randrange(len(SEEDS))]
        return Outcome.of(job, "complete", accuracy=float(accuracy), epochs=self.spec.training.epochs)

    @property
    def about(self) -> str:
        return f"all {len(self.hashes)} genomes, three seeds each"

    @property
    def spread(self) -> dict[str, float]:
        """Standard deviations of accuracy: of the genomes' means, and of the three seeds within a genome."""
        within = float(np.sqrt(self._accuracy.var(1, ddof=1).mean()))
        return {"genomes": float(self._mean.std(ddof=1)), "seeds": within}


def make(folder: Path, name: str) -> None:
    """Train everything, then join the runs' tables."""
    for seed in SEEDS:
        settings = f"sampler=grid seed={seed} workers.cpu=1"
        nas = Path(sys.executable).with_name("nas")
        run = folder.resolve() / f"seed{seed}"
        subprocess.run(
            [str(nas), "search", str(FOLDER / f"{name}.yaml"), "--set", settings, "--run", str(run)], check=True
        )
    join([folder / f"seed{seed}" for seed in SEEDS], FOLDER / f"{name}.csv")


def join(runs: list[Path], path: Path) -> None:
    """One row a genome, in the order of the first run's trials. Raises ValueError if the runs do not hold the same."""
    tables = [complete_trials(run) for run in runs]
    for run, table in zip(runs, tables, strict=True):
        if set(table) != set(tables[0]):
            raise ValueError(f"{run} and {runs[0]} have not trained the same genomes")
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["hash", "parameters", "macs", "params", *_ACCURACIES])
        for name, (job, _) in tables[0].items():
            found = [f"{table[name][1].accuracy:.6f}" for table in tables]
            writer.writerow([name, json.dumps(job.parameters), job.costs["macs"], job.costs["params"], *found])


def complete_trials(run: Path) -> dict[str, tuple[Job, Outcome]]:
    """What a run has trained, by genome."""
    found = {}
    for directory in sorted((run / "trials").iterdir()):
        outcome = Outcome.read(directory)
        if outcome is not None and outcome.state == "complete":
            job = Job.read(directory)
            found[job.hash] = job, outcome
    return found
