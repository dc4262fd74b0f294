"""Winners: the front's genomes and weights, copied to where `nas.build` finds them, and looked at alone.

    winners/w1-0012.yaml + w1-0012.safetensors        best in the first objective first; 0012 is the trial

All this happens when no worker is running. The winners' throughput is the stopwatch's, at which they take turns, and a
throughput budget is hard: a winner that misses it by the stopwatch leaves the front, and whoever it dominated may
enter. The test split is read here and nowhere else, once for each winner, and nothing is chosen by it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pandas as pd

from nas.cost import throughputs
from nas.cost.latency import BATCH
from nas.engine import Event, OnEvent, Run
from nas.engine.evaluation import read_test
from nas.files import write_atomically, write_text
from nas.model import build
from nas.search.pareto import front_of
from nas.train import Task


class Examiner(Protocol):
    """What is measured of a trial's trained model, by the trial's id."""

    def throughputs(self, trials: list[str]) -> list[float]: ...  # at which they take turns

    def test_accuracies(self, trials: list[str]) -> list[float]: ...


@dataclass(frozen=True)
class RunExaminer:
    """Measures the models of a run: speed in this process, while the workers are idle; accuracy in the workers."""

    run: Run
    task: Task
    device: str
    on_event: OnEvent

    def throughputs(self, trials: list[str]) -> list[float]:
        if trials:
            text = f"timing {len(trials)} winners, with nothing else running"
            self.on_event(Event("message", data={"text": text}))
        models = (build(self.run.ledger.folder / trial / "genome.yaml", weights=True) for trial in trials)
        found = throughputs(models, batch_size=BATCH, device=self.device)
        return [each.images_per_second for each in found]

    def test_accuracies(self, trials: list[str]) -> list[float]:
        jobs = [self.run.ledger.trial(int(trial)).job for trial in trials]
        self.run.test(jobs, self.task, self.on_event)
        return [read_test(job.directory)["accuracy"] for job in jobs]


def write_front(
    directory: Path, table: pd.DataFrame, objectives: list[str], *, least: float | None, examiner: Examiner | None
) -> pd.DataFrame:
    """Write front.csv and winners/ from the table of trials, and return the front.

    The columns are the table's, then winner (its name), throughput_measured, accuracy_test; with repeats, accuracy is
    the mean of a genome's trainings, and accuracy_weights that of the one whose weights the winner has. least: the
    throughput budget. examiner: None leaves what must be measured empty (the front of a run that was interrupted).
    """
    kept = [(directory / "trials" / trial / "weights.safetensors").exists() for trial in table["trial"]]
    table = table[table["hash"].isin(table.loc[kept, "hash"])]  # nas/search/retention.py
    missed: set[str] = set()
    measured: dict[str, float] = {}
    while True:
        front = front_of(table[~table["hash"].isin(missed)], objectives)
        new = [trial for trial in front["trial"] if trial not in measured]
        if examiner is None or not new:
            break
        measured |= dict(zip(new, examiner.throughputs(new), strict=True))
        slow = [trial for trial, speed in measured.items() if least is not None and speed < least]
        missed = set(table.loc[table["trial"].isin(slow), "hash"])
    if "repeats" in front:
        own = table.set_index("trial")["accuracy"]
        front["accuracy_weights"] = own[front["trial"]].to_numpy()
    front["winner"] = [f"w{rank}-{trial}" for rank, trial in enumerate(front["trial"], start=1)]
    front["throughput_measured"] = [measured.get(trial) for trial in front["trial"]]
    trials = front["trial"].tolist()
    front["accuracy_test"] = examiner.test_accuracies(trials) if examiner else [None] * len(trials)
    front = front.astype({"throughput_measured": float, "accuracy_test": float})
    _copy(directory, front)
    write_atomically(directory / "front.csv", lambda path: front.to_csv(path, index=False))
    return front


def _copy(directory: Path, front: pd.DataFrame) -> None:
    folder = directory / "winners"
    folder.mkdir(exist_ok=True)
    for row in front.to_dict("records"):
        source, target = directory / "trials" / row["trial"], folder / row["winner"]
        weights = source / "weights.safetensors"
        write_atomically(target.with_suffix(".safetensors"), partial(shutil.copyfile, weights))
        found = f"accuracy {row.get('accuracy_weights', row['accuracy'])} on validation, {row['macs']} MACs"
        head = f"# Trial {row['trial']} of run {directory.name}: {found}.\n"
        write_text(target.with_suffix(".yaml"), head + (source / "genome.yaml").read_text())
    for path in folder.iterdir():
        if path.stem not in set(front["winner"]):
            path.unlink()
