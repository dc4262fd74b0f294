"""Winners: the genomes and weights of the front, copied for `nas.load` and measured without other load.

    winners/w1-0012.yaml + w1-0012.safetensors        sorted by the first objective, best first; 0012 is the trial
    winners/w1-0012.json        its results, on test by class and with the confusion matrix; its layers with their costs

No worker trains meanwhile. Metrics predicted from timings are now measured, with interleaved winners. Budgets are hard:
a winner whose measured value misses one leaves the front, and trials that it dominated may enter. The test split is
used only here, once for each winner, and never for selection. Latency on another device (`budget.table`) is not
measured.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from nas.engine import Event, Job, Limits, OnEvent, Run, Workers
from nas.engine.digests import check_weights, weights_digest
from nas.engine.evaluation import read_confusion, read_test
from nas.engine.reading import Cell, is_winners, read_json
from nas.engine.training import images_of
from nas.engine.version import VERSION
from nas.errors import DataError, RunError
from nas.files import no_link, sha256_of, write_atomically, write_sealed, write_text
from nas.genome import Genome
from nas.metrics import METRICS, ON_TARGET, batch_sizes
from nas.model import build
from nas.model.pixels import described, served
from nas.numbers import standard_error
from nas.profiling import disturbance, throughputs
from nas.search.budget import Budget
from nas.search.pareto import front_of
from nas.search.spec import SearchSpec
from nas.search.stack import stack_of, table_of
from nas.train import Task
from nas.train.confusion import by_class

log = logging.getLogger(__name__)

TEST = ["accuracy_test", "accuracy_test_se"]


class Examiner(Protocol):
    """Measures the trained models of trials, given the trials' ids."""

    def seconds(self, trials: list[str], batch_size: int) -> list[float]: ...  # per batch, interleaved

    def on_test(self, trials: list[str]) -> tuple[list[tuple[float, float]], DataError | None]:
        """Accuracy and standard error of each, nan where it is not known, and the images' problem, if they have one."""
        ...


@dataclass(frozen=True)
class FrontSpec:
    """What a front needs to know of its run, for runs that are no search: the keys of a SearchSpec."""

    objectives: Mapping[str, str]
    budget: Budget
    task: Task
    workers: Workers
    limits: Limits
    storage: str | None


@dataclass(frozen=True)
class RunExaminer:
    """Measures the models of a run: speed in this process while the workers are idle, accuracy in the workers."""

    run: Run[SearchSpec] | Run[FrontSpec]
    task: Task
    device: str
    on_event: OnEvent

    def seconds(self, trials: list[str], batch_size: int) -> list[float]:
        what = "single images" if batch_size == 1 else f"batches of {batch_size}"
        text = f"timing {len(trials)} winners in {what}, with nothing else running"
        self.on_event(Event("message", data={"text": text}))
        models = (build(self.run.ledger.folder / trial / "genome.yaml", weights=True) for trial in trials)
        found = throughputs(models, batch_size=batch_size, device=self.device)
        if (told := disturbance(found)) is not None:
            self.on_event(Event("message", data={"text": told}))
        return [each.median_seconds for each in found]

    def on_test(self, trials: list[str]) -> tuple[list[tuple[float, float]], DataError | None]:
        jobs, problem = [self.run.ledger.trial(int(trial)).job for trial in trials], None
        try:
            self.run.test(jobs, self.task, self.on_event)
        except DataError as error:
            problem = error
        return [_read(job) for job in jobs], problem


def write_front(run: Run[SearchSpec] | Run[FrontSpec], examiner: Examiner | None) -> pd.DataFrame:
    """Write front.csv and winners/ of a run as `_write_front` does, and return the front.

    Where an interrupt ends the examination, the front is written without it, if there is none of these trials yet.
    """
    try:
        return _write_front(run, examiner)
    except KeyboardInterrupt:
        if examiner is not None and not _is_written(run):
            _write_front(run, None)
        raise


def _is_written(run: Run[SearchSpec] | Run[FrontSpec]) -> bool:
    """Whether there is a front of all trials that have ended, perhaps with what an earlier examination found."""
    said = set()
    for file in (run.directory / "winners").glob("*.json"):
        with suppress(RunError):  # damaged: it says nothing
            said.add((read_json(file, dict) or {}).get("trials_sha256"))
    return (run.directory / "front.csv").exists() and run.ledger.outcomes_sha256 in said


def _write_front(run: Run[SearchSpec] | Run[FrontSpec], examiner: Examiner | None) -> pd.DataFrame:
    """Write front.csv and winners/ of a run, and return the front.

    The columns are the table's, then winner (its name), throughput_measured (likewise for other metrics in use that are
    predicted from timings), accuracy_test, and accuracy_test_se, its standard error. With repeats, accuracy is the mean
    over a genome's trainings, and accuracy_weights that of the training whose weights the winner has. examiner: None
    leaves measured columns empty (the front of an interrupted run). Where images of the test split cannot be read, the
    front is written with what is known of it, and the DataError is raised then.
    """
    directory, table = run.directory, run.ledger.table()
    no_link(directory / "winners")
    objectives, budget = list(run.spec.objectives), run.spec.budget
    _restore(directory, front_of(table, objectives)["trial"].tolist())
    kept = [(directory / "trials" / trial / "weights.safetensors").exists() for trial in table["trial"]]
    table = table[table["hash"].isin(table.loc[kept, "hash"])]  # nas/search/retention.py
    here = [n for n in dict.fromkeys([*objectives, *budget.limits]) if n != ON_TARGET or budget.table is None]
    timed = [n for n in dict.fromkeys(["throughput", *here]) if METRICS[n].known == "table"]
    missed: set[str] = set()
    measured: dict[str, dict[str, float]] = {}
    while True:
        front = front_of(table[~table["hash"].isin(missed)], objectives)
        new = [trial for trial in front["trial"] if trial not in measured]
        if examiner is None or not new:
            break
        measured |= _measured(examiner, new, timed)
        over = [trial for trial in measured if _misses(budget, measured[trial])]
        missed = set(table.loc[table["trial"].isin(over), "hash"])
    if "repeats" in front:
        own = table.set_index("trial")["accuracy"]
        front["accuracy_weights"] = own[front["trial"]].to_numpy()
    front["winner"] = [f"w{rank}-{trial}" for rank, trial in enumerate(front["trial"], start=1)]
    for name in timed:
        front[f"{name}_measured"] = [measured.get(trial, {}).get(name) for trial in front["trial"]]
    trials = front["trial"].tolist()
    tested, problem = examiner.on_test(trials) if examiner else ([(np.nan, np.nan)] * len(trials), None)
    front[TEST] = np.array(tested).reshape(-1, 2)
    front = front.astype(dict.fromkeys([*(f"{name}_measured" for name in timed), *TEST], float))
    _copy(run, front)
    run.write_csv("front.csv", front)
    if problem is not None:
        raise problem
    return front


def _restore(directory: Path, trials: list[str]) -> None:
    """Bring the weights of trials on the front back from winners/, where those in the trial's directory are gone.

    Otherwise the trial would be left out, and with its winner's files the last copy of its weights removed. Weights
    that are nowhere are named.
    """
    for trial in trials:
        folder = directory / "trials" / trial
        weights = folder / "weights.safetensors"
        if weights.exists() or (expected := weights_digest(folder)) is None:
            continue
        copies = (directory / "winners").glob(f"w*-{trial}.safetensors")
        copy = next((copy for copy in copies if sha256_of(copy) == expected), None)
        if copy is not None:
            write_atomically(weights, partial(shutil.copyfile, copy))
        else:
            log.warning("%s: gone, of a trial on the front: it cannot be a winner; restore them", weights)


def _read(job: Job) -> tuple[float, float]:
    found = read_test(job.directory)
    if not found:
        return math.nan, math.nan
    return found["accuracy"], standard_error(found["accuracy"], int(found["test_images"]))


def _results(
    run: Run[SearchSpec] | Run[FrontSpec],
    row: Mapping[Any, Any],
    genome: Genome,
    cells: list[Cell] | None,
    stack: dict[str, Any],
    digest: str,
    trials: str,
) -> dict[str, Any]:
    """What winners/<name>.json says.

    cells: None if the test split has not been read, or was by an earlier version. stack: the genome's. digest: SHA-256
    of the weights. trials: of the outcomes of all trials, by which it is known whether the front is of all of them.
    """
    keys = ("macs", "params", "accuracy_se", "accuracy_weights", *TEST)
    figures = {key: row[key] for key in keys if pd.notna(row.get(key))}
    found = {"run": run.directory.name, "trial": row["trial"], "accuracy": row["accuracy"], **figures}
    columns = {name: f"{name}_measured" for name in METRICS}
    found["measured"] = {name: row[column] for name, column in columns.items() if pd.notna(row.get(column))}
    if cells is not None:
        names = genome.class_names or [str(label) for label in range(genome.classes)]
        found |= {"classes": by_class(cells, names), "confusion": cells}
    return {"version": VERSION, **found, "weights_sha256": digest, "trials_sha256": trials, **stack}


def _measured(examiner: Examiner, trials: list[str], metrics: list[str]) -> dict[str, dict[str, float]]:
    """The measured metrics of each trial, timed once for each batch size."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for size in batch_sizes(metrics):
        for trial, seconds in zip(trials, examiner.seconds(trials, size), strict=True):
            found[trial] |= {n: METRICS[n].of(seconds) for n in metrics if METRICS[n].batch_size == size}
    return found


def _misses(budget: Budget, found: dict[str, float]) -> bool:
    return any(budget.excess(name, value) > 0 for name, value in found.items() if name in budget.limits)


def _copy(run: Run[SearchSpec] | Run[FrontSpec], front: pd.DataFrame) -> None:
    directory, folder = run.directory, run.directory / "winners"
    folder.mkdir(exist_ok=True)
    table, trials = table_of(directory), run.ledger.outcomes_sha256
    for trial in front["trial"]:
        check_weights(directory / "trials" / trial)
    confusions = {trial: read_confusion(directory / "trials" / trial) for trial in front["trial"]}
    (directory / "front.csv").unlink(missing_ok=True)  # after a kill from here on there is none, not one of before
    for row in front.to_dict("records"):
        source, target = directory / "trials" / row["trial"], folder / row["winner"]
        weights = source / "weights.safetensors"
        genome = described(Job.read(source).genome, weights)
        if genome.preprocess is None:  # weights of an earlier version
            genome = genome.edit(served(images_of(run.spec.task, genome.image.size)))
        copied = target.with_suffix(".safetensors")
        write_atomically(copied, partial(shutil.copyfile, weights))
        word = "accuracy" if run.spec.task.labels is None else "agreement with the parent"
        own, error = row.get("accuracy_weights", row["accuracy"]), row["accuracy_se"]
        share = f"{own:.4f}" if pd.isna(error) else f"{own:.4f} ± {error:.4f}"
        found = f"{word} {share} on validation, {row['macs']} MACs"
        head = f"# Trial {row['trial']} of run {directory.name}: {found}.\n"
        write_text(target.with_suffix(".yaml"), head + genome.to_yaml())
        stack, cells = stack_of(genome, table), confusions[row["trial"]]
        results = _results(run, row, genome, cells, stack, sha256_of(copied), trials)
        write_sealed(target.with_suffix(".json"), results)
    for path in folder.iterdir():  # of an earlier front; files with other names belong to the user
        if is_winners(path.name) and path.stem not in set(front["winner"]) and path.is_file():
            path.unlink()
