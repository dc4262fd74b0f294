"""A run as read from its files: facts from run.yaml, trials from their directories, learning curves, failures.

No process and no state of Ray or Optuna is needed: a run can be reported while it is in progress, after a kill, or
years later. Trials are read from their directories or, if only the tables were kept (a published run), from those.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from nas.engine import Ledger
from nas.engine.digests import check_curve
from nas.engine.reading import read_table
from nas.engine.record import read_record
from nas.errors import RunError, SpecError, shown
from nas.files import regular
from nas.report.classes import ClassResults, Results, class_results
from nas.report.converted import read_assemblies, read_sensitivity
from nas.report.front import GONE, NEEDED, NUMBERS, TEXT, is_current, results_in, written_front
from nas.report.target import Conditions, conditions_of, words

BASE = -1  # draw of the base genome in a search (nas/search/candidates.py)


@dataclass(frozen=True)
class Run:
    """`trials` and `front` have the columns of trials.csv and front.csv; trial numbers are integers here.

    ledger: None for a published run, which has only its tables. winners: the results of each, by name. current: whether
    front.csv is of all trials that have ended.
    """

    directory: Path
    facts: dict[str, Any]
    ledger: Ledger | None
    trials: pd.DataFrame
    front: pd.DataFrame
    objectives: dict[str, str]
    winners: dict[str, Results]
    current: bool

    @property
    def meaning(self) -> str | None:
        """What accuracy is in this run, where it is not the share of right answers: the images have no labels."""
        return self.facts.get("accuracy")

    def worded(self, text: str) -> str:
        """Text about accuracy, which says agreement where that is what it is; about latency, with another device."""
        for usual, meant in self._words.items():
            text = text.replace(usual, meant)
        return text

    @cached_property
    def _words(self) -> dict[str, str]:
        found = {"accuracy": "agreement", "Accuracy": "Agreement"} if self.meaning is not None else {}
        if (there := self.target) is not None:
            found |= words(there["device"], there["runtime"], there["threads"], there["batch_size"])
        return found

    @cached_property
    def target(self) -> Conditions | None:
        """The conditions in target.json: latency is that of another device. None of other runs."""
        return conditions_of(self.directory, self.facts["spec"])

    @cached_property
    def layers(self) -> dict[int, str]:
        """One line about the genome of each trial on the front. A search writes it down; genomes need torch."""
        return {int(t): self._note(int(t)).get("layers") or self._described(int(t)) for t in self.front["trial"]}

    @cached_property
    def layer_lines(self) -> dict[int, str]:
        """The line about its genome of every trial for which one is written down, and of those on the front."""
        trials = self.ledger.trials if self.ledger is not None else []
        noted = {trial.job.number: trial.job.note["layers"] for trial in trials if "layers" in trial.job.note}
        return noted | {trial: line for trial, line in self.layers.items() if line}

    def _described(self, trial: int) -> str:
        """Empty of a trial that is published as a row of the tables alone."""
        from nas.report.describe import describe_file

        files = [self.folder(trial) / "genome.yaml", *(self.directory / "winners").glob(f"w*-{trial:04d}.yaml")]
        return next((describe_file(file) for file in files if file.exists()), "")

    def _note(self, trial: int) -> dict[str, Any]:
        return self.ledger.trial(trial).job.note if self.ledger is not None and trial in self.ledger else {}

    @cached_property
    def curves(self) -> dict[int, np.ndarray]:
        """(epochs, 2) epoch and accuracy on validation, of every trial with at least one epoch.

        Raises RunError for one that is not what its trial ended with. (The ledger looks at those that are complete.)
        """
        if self.ledger is not None:
            for trial in self.trials.loc[self.trials["state"].isin(["pruned", "failed"]), "trial"]:
                check_curve(self.folder(int(trial)))
        curves = {int(trial): _curve(self.folder(int(trial)) / "metrics.csv") for trial in self.trials["trial"]}
        return {trial: curve for trial, curve in curves.items() if len(curve)}

    @cached_property
    def sensitivity(self) -> pd.DataFrame | None:
        """sensitivity.csv of a conversion; None of other runs, and before it is written."""
        return read_sensitivity(self.directory, self.current)

    @cached_property
    def assemblies(self) -> pd.DataFrame | None:
        """assemblies.csv of a conversion; None of other runs, and before its repairs have ended."""
        return read_assemblies(self.directory, self.trials, self.current)

    @cached_property
    def results(self) -> dict[str, Results]:
        """What winners/<name>.json says of each winner, in the order of the front; empty where there is none."""
        return {name: self.winners.get(name, Results()) for name in self.front.get("winner", ())}

    @cached_property
    def by_class(self) -> dict[str, ClassResults]:
        """The results on test by class, of each winner that has them, in the order of the front."""
        found = {name: class_results(results) for name, results in self.results.items()}
        return {name: results for name, results in found.items() if results is not None}

    @cached_property
    def anytime(self) -> pd.DataFrame:
        """The record of nas.search.anytime, from the trial directories or, if there are none, from hypervolume.csv."""
        from nas.search.anytime import anytime

        if self.ledger is not None:
            return anytime(self.ledger, self.objectives)
        written = self.directory / "hypervolume.csv"
        needed = ["run", "trials", "worker_seconds", "hypervolume"]
        if not written.exists():
            return pd.DataFrame()
        return read_table(written, needed=needed, numbers=needed[1:], text=["run"], remedy=GONE)

    @cached_property
    def gain(self) -> str | None:
        """A sentence about gain.json; None of runs without it, and where it is of other trials."""
        from nas.search.gain import Gain, worked_out_from

        found = Gain.read(self.directory)
        if found is None:
            return None
        if self.ledger is not None and found.trials_sha256 not in (None, worked_out_from(self.ledger)):
            return None
        return found.sentence

    @cached_property
    def on_test(self) -> list[str]:
        """Sentences about what test says of the winners; empty before it was read."""
        from nas.report.on_test import said_on_test

        return [self.worded(sentence) for sentence in said_on_test(self.front, self.base)]

    @cached_property
    def base(self) -> str:
        """The hash of the base genome; empty where run.yaml does not name one."""
        for trial in self.ledger.trials if self.ledger is not None else ():
            if trial.job.note.get("draw") == BASE and "from" not in trial.job.note:  # no need to build the genome
                return trial.job.hash
        from nas.genome import load_genome

        base = self.facts["spec"].get("base")
        try:
            return load_genome(base).hash if base else ""
        except SpecError as error:
            raise RunError(str(error), file=self.directory / "run.yaml", path="spec.base") from None

    @cached_property
    def failures(self) -> list[tuple[int, str, str]]:
        """Trial, reason and traceback of each failed trial."""
        failed = self.trials[self.trials["state"] == "failed"]
        return [
            (int(trial), str(reason), _text(self.folder(int(trial)) / "failure.txt"))
            for trial, reason in failed[["trial", "reason"]].itertuples(index=False)
        ]

    @property
    def ended(self) -> bool:
        """Whether the search has ended: the front's throughput is measured at its end."""
        return "throughput_measured" in self.front and bool(self.front["throughput_measured"].notna().all())

    def folder(self, trial: int) -> Path:
        return self.directory / "trials" / f"{trial:04d}"


def read_run(directory: Path) -> Run:
    """Read a run directory. Raises RunError if it is not one.

    >>> read_run(Path("results/lavit_split-digits")).front[["trial", "accuracy", "macs"]]
    """
    from nas.search.pareto import front_of

    if not os.path.lexists(directory / "run.yaml"):
        what = "it has no run.yaml" if os.path.isdir(directory) else "no such directory"
        raise RunError(f"not a run: {what}", file=directory)
    facts = read_record(directory)
    assert facts is not None
    ledger = Ledger(directory, id=facts.get("id")) if os.path.isdir(directory / "trials") else None
    trials = (_published(directory) if ledger is None else ledger.table()).astype({"trial": int})
    objectives = facts["spec"].get("objectives") or {"accuracy": "max", "macs": "min"}
    if not isinstance(objectives, dict) or any(word not in ("max", "min") for word in objectives.values()):
        message = f"expected metrics, each with max or min; found {shown(objectives)}"
        raise RunError(message, file=directory / "run.yaml", path="spec.objectives")
    winners = results_in(directory)
    current = is_current(directory, ledger, winners)
    front = written_front(directory, trials, ledger, winners) if current else None
    if front is None:
        front = front_of(trials, objectives)
    return Run(directory, facts, ledger, trials, front, objectives, winners, current)


def _published(directory: Path) -> pd.DataFrame:
    if not os.path.exists(directory / "trials.csv"):
        raise RunError("not a run: it has neither trials/ nor trials.csv", file=directory)
    return read_table(directory / "trials.csv", needed=NEEDED, numbers=NUMBERS, text=TEXT, remedy=GONE)


def _curve(file: Path) -> np.ndarray:
    """Epoch and accuracy from a metrics.csv. Pandas would take a millisecond for each of the many small files.

    Empty where there is none yet, or a damaged one (`read_epochs` in nas/engine/reading.py).
    """
    try:
        rows = list(csv.reader(regular(file).read_text().splitlines()))
        columns = [rows[0].index(name) for name in ("epoch", "accuracy")]
        return np.array([[float(row[column]) for column in columns] for row in rows[1:]]).reshape(-1, 2)
    except (OSError, ValueError, IndexError, csv.Error):
        return np.empty((0, 2))


def _text(file: Path) -> str:
    return regular(file).read_text(errors="replace") if file.exists() else ""
