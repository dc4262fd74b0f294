"""Tables of spaces too large to be trained: a model of real trials says what a training would find.

large.yaml has millions of genomes, knobs.yaml has continuous and conditional parameters. Of each, random genomes were
trained (large.csv, knobs.csv: hash, parameters, macs, params, accuracy), and gradient-boosted trees fitted to them. No
sampler here models with trees. `tau` is Kendall's rank correlation of the model with trials that it was not fitted to
(five folds). A trial finds the accuracy of the model with the noise of one seed; MACs are by formula. It is judged
without the noise, against the best that a long search on the model itself found (`make_front`: large-front.csv).

    python -m benchmarks.samplers --make FOLDER --table large        trains the trials anew, and searches the front
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Collection, Iterable
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import KFold, cross_val_predict

from benchmarks.replay import FOLDER, complete_trials
from nas.engine import Job, Outcome
from nas.metrics import estimator
from nas.search import SearchSpec, hypervolume, load_space
from nas.search.budget import Budget
from nas.search.parameter import label
from nas.search.pareto import non_dominated, reference_of
from nas.search.pool import Pool
from nas.search.space import Assignment, SearchSpace
from nas.search.surrogate import Encoding

NOISE = 0.01  # standard deviation of accuracy between seeds, about that of replay.csv
GENERATIONS = 40  # of the search for the reference front


class Emulated:
    """A fitted table and its space, with the same face as `Replay`.

    >>> Emulated("large").tau
    """

    def __init__(self, name: str):
        self.spec: SearchSpec = load_space(FOLDER / f"{name}.yaml")
        self.space: SearchSpace = self.spec.space(self.spec.genome())
        self.trials = pd.read_csv(FOLDER / f"{name}.csv", index_col="hash")
        self.estimate = estimator()
        self._front = FOLDER / f"{name}-front.csv"
        self._rows = np.stack([self._row(json.loads(text)) for text in self.trials["parameters"]])
        self._accuracy = self.trials["accuracy"].to_numpy(float)
        self._model = _model().fit(self._rows, self._accuracy)
        points_N2 = np.stack([-self._accuracy, self.trials["macs"].to_numpy(float)], axis=1)
        self._reference_2 = reference_of(points_N2)
        self._found: dict[str, tuple[float, float]] = {}  # costs (accuracy, MACs) by hash

    def _row(self, assignment: Assignment) -> np.ndarray:
        """A number for each parameter: a number as it is, a choice by its place in the list; -1 if inactive."""
        return np.array(
            [
                -1.0
                if p.path not in assignment
                else float(assignment[p.path])
                if p.numeric
                else [label(value) for value in p.values or ()].index(label(assignment[p.path]))
                for p in self.space.parameters
            ]
        )

    def accuracy(self, assignments: Iterable[Assignment]) -> np.ndarray:
        """What the model says, without noise."""
        predicted: np.ndarray = self._model.predict(np.stack([self._row(one) for one in assignments]))
        return np.clip(predicted, 0.0, 1.0)

    def outcome(self, job: Job) -> Outcome:
        """The model's accuracy, with noise that the trial's seed decides."""
        expected = float(self.accuracy([job.parameters])[0])
        self._found[job.hash] = -expected, job.costs["macs"]
        found = expected + Random(job.seed).gauss(0, NOISE)
        return Outcome.of(job, "complete", accuracy=min(max(found, 0.0), 1.0), epochs=self.spec.training.epochs)

    def regret(self, tried: Collection[str]) -> float:
        """Accuracy of the best genome of the reference front, less that of the best that was tried."""
        return min(self._found[name][0] for name in tried) - float(self._best_F2[:, 0].min())

    def share(self, tried: Collection[str]) -> float:
        """Hypervolume (accuracy, MACs) of the genomes that were tried, as a share of the reference front's."""
        points_N2 = np.array([self._found[name] for name in tried])
        return hypervolume(points_N2, self._reference_2) / hypervolume(self._best_F2, self._reference_2)

    @cached_property
    def _best_F2(self) -> np.ndarray:
        front = pd.read_csv(self._front)
        return np.stack([-front["accuracy"].to_numpy(float), front["macs"].to_numpy(float)], axis=1)

    @property
    def about(self) -> str:
        return f"gradient boosting on {len(self.trials)} trials, held-out τ {self.tau:.2f}"

    @property
    def spread(self) -> dict[str, float]:
        return {"genomes": float(self._accuracy.std(ddof=1)), "seeds": NOISE}

    @cached_property
    def tau(self) -> float:
        """Kendall's τ of predictions for trials that the model was not fitted to."""
        held_out = cross_val_predict(_model(), self._rows, self._accuracy, cv=KFold(5, shuffle=True, random_state=0))
        return float(stats.kendalltau(held_out, self._accuracy).statistic)

    def make_front(self) -> None:
        """Evolve on the model: mutations of the best so far and random genomes, until GENERATIONS have passed."""
        pool = Pool(self.space, Encoding(self.space.parameters), self.estimate, Budget(), size=200, seed=1)
        points_N2, found = np.empty((0, 2)), []
        for generation in range(GENERATIONS):
            near = dict(enumerate(found, start=1000 * generation))
            new = [one.assignment for one in pool.candidates(100 * generation, near)]
            macs = [self.estimate(self.space.genome(one))["macs"] for one in new]
            points_N2 = np.vstack([points_N2, np.stack([-self.accuracy(new), np.array(macs, float)], axis=1)])
            found += new
            best_N = non_dominated(points_N2)
            points_N2, found = points_N2[best_N], [one for one, best in zip(found, best_N, strict=True) if best]
        _, first_F = np.unique(points_N2, axis=0, return_index=True)
        with self._front.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["parameters", "macs", "accuracy"])
            for index in first_F:
                macs_, accuracy = int(points_N2[index, 1]), -points_N2[index, 0]
                writer.writerow([json.dumps(found[index]), macs_, f"{accuracy:.6f}"])


def _model() -> GradientBoostingRegressor:
    return GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.05, max_depth=4, subsample=0.7, min_samples_leaf=3, random_state=0
    )


def make(folder: Path, name: str) -> None:
    """Train the random genomes, write the table, search the front."""
    nas = Path(sys.executable).with_name("nas")
    run = folder.resolve() / "seed0"
    settings = "sampler=random workers.cpu=1"
    subprocess.run([str(nas), "search", str(FOLDER / f"{name}.yaml"), "--set", settings, "--run", str(run)], check=True)
    write(run, FOLDER / f"{name}.csv")
    Emulated(name).make_front()


def write(run: Path, path: Path) -> None:
    """The complete trials of a run as a table."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["hash", "parameters", "macs", "params", "accuracy"])
        for name, (job, outcome) in complete_trials(run).items():
            found = f"{outcome.accuracy:.6f}"
            writer.writerow([name, json.dumps(job.parameters), job.costs["macs"], job.costs["params"], found])
