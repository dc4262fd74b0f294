"""Running an ablation: arms × seeds on the engine, each cell one trial directory.

    results/<run>/   run.yaml, trials/<id>/ (+ test.json: accuracy on the test split; speed.json: images per second)

A second call with the same directory resumes. If another ablation in the same folder of runs has a complete cell with
equal genome, training, images, start and seed, that cell is copied instead of trained. An ablation selects nothing, so
its accuracies are those of the test split, which the workers read once per cell, at the end, with the deployed graph.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from nas.ablation.spec import Ablation, Arm, parse_ablation
from nas.ablation.timing import speeds_of, time_arms
from nas.data import absolute, account_of
from nas.engine import Job, Ledger, OnEvent, Outcome, Run, Signal
from nas.engine.digests import check_weights
from nas.engine.evaluation import read_test
from nas.engine.events import ignore
from nas.engine.reading import read_epochs
from nas.engine.scale import introduce
from nas.engine.start import check_start, keep_start
from nas.engine.tracking import check_trackers, tracked
from nas.engine.training import TrainJob
from nas.errors import RunError, SpecError
from nas.genome import Genome, load_genome
from nas.metrics import estimator
from nas.model import Donor
from nas.train import check_teacher, fitted
from nas.train.checkpoint import recipe_of
from nas.train.ranks import check_shares

COPIED = ("metrics.csv", "weights.safetensors", "test.json")  # files of a complete cell of another ablation
# Keys that may change when a run is resumed; of the start, the weights are compared.
MAY_DIFFER = {
    "training.checkpoint_every",
    "workers",
    "limits",
    "name",
    "claim",
    "seeds",
    "baseline",
    "storage",
    "track",
    "max_pixels",
    "start",
}


class Cells:
    """The jobs of an ablation, for the engine. Seeds are outermost: an interrupted table has complete repetitions."""

    def __init__(self, ablation: Ablation, arms: list[Arm], ledger: Ledger, images: str, donor: Donor | None):
        """images: their digest."""
        known = {(trial.job.note["arm"], trial.job.seed) for trial in ledger.trials}
        self.todo = [(arm, s) for s in ablation.seed_list for arm in arms if (arm.name, s) not in known]
        task = ablation.task
        start = [donor.digest] if donor is not None else []
        self.key = json.dumps([recipe_of(task.training), task.data, images, task.seed, *start], sort_keys=True)
        self.ledger = ledger
        self.elsewhere = _finished_elsewhere(ledger.directory)

    def unfinished(self) -> list[Job]:
        return self.ledger.unfinished

    def next(self) -> Job | Signal:
        while self.todo:
            arm, seed = self.todo.pop(0)
            cell = hashlib.sha256(f"{arm.genome.hash}/{self.key}/{seed}".encode()).hexdigest()[:16]
            twin = self.elsewhere.get(cell)
            if twin is not None and not _is_whole(twin):
                twin = None
            job = self.ledger.add(
                arm.genome,
                number=self.ledger.gap,
                outcome=Outcome.read(twin) if twin else None,
                files=[twin / name for name in COPIED if (twin / name).exists()] if twin else [],
                seed=seed,
                hash=arm.genome.hash,
                parameters={"arm": arm.name} | arm.levels,
                costs=estimator()(arm.genome),
                note={"arm": arm.name, "cell": cell},
            )
            if twin is None:
                return job
        return Signal.DONE

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Later cells do not depend on the outcome of earlier ones."""


def ablate(ablation: Ablation, directory: Path, *, on_event: OnEvent = ignore) -> pd.DataFrame:
    """Run or resume an ablation; returns its cells, a row per arm and seed, as `cells_of(directory)`.

    Raises SpecError for a user's mistake, before anything is written.
    """
    run = Run(directory, "ablation", ablation, _upgraded)
    ablation = ablation.resumed(run.begun)
    check_trackers(ablation.track)
    images, task = ablation.task.prepared()
    base, donor = fitted(ablation.genome(), images), ablation.donor_for(images)
    check_teacher(ablation.training.teacher, base, images)
    check_shares(ablation.training, images, ablation.workers.ranks)
    arms = ablation.arms_of(base)
    spec = _recorded(ablation, base)
    run.check(spec, may_differ=MAY_DIFFER, data=account_of(images), start=ablation.donor)
    if run.begun is not None:
        check_start(ablation, run.directory)
    meant = run.begun is not None or ablation.image_size is not None or donor is not None
    introduce(ablation.genome(), base, images, on_event, suits=ablation.arms_of, meant=meant)
    with run.opened(on_event):
        keep_start(ablation, run.directory, images, on_event)
        run.begin(spec, seed=ablation.split_seed)
        work = TrainJob.on(run.pool, task, donor)
        with tracked(run.ledger, ablation.track, run.directory.name, on_event) as listener:
            run.train(Cells(ablation, arms, run.ledger, images.digest, donor), work, listener)
        done = [trial.job for trial in run.ledger.trials if trial.outcome and trial.outcome.state == "complete"]
        run.test(done, task, on_event)
        time_arms(run.ledger, done, ablation.workers.device, on_event)
    return cells_of(run.directory)


def _recorded(ablation: Ablation, base: Genome) -> dict[str, Any]:
    """The spec as in run.yaml: every default written out, the base fitted to the data."""
    resolved = {"base": base.model_dump(mode="json", exclude_defaults=True), "data": absolute(ablation.data)}
    return ablation.model_dump(mode="json") | resolved


def _upgraded(spec: dict[str, Any]) -> dict[str, Any]:
    """A recorded spec with keys of later versions added, at their defaults."""
    ablation = parse_ablation(spec)
    assert ablation.base is not None  # a record has one, with a start as well
    return _recorded(ablation, load_genome(ablation.base))


def cells_of(directory: Path) -> pd.DataFrame:
    """The cells of a run, from its trial directories: one row per arm and seed, accuracies as fractions.

    accuracy is that of the test split, accuracy_validation that of the last epoch. Arms with an auxiliary have
    mask_mass and accuracy_before_switch. images_per_second and its conditions are those of the arm's first cell.
    """
    trials = Ledger(directory).trials
    speeds = speeds_of(trials)
    rows = []
    for trial in trials:
        job, outcome = trial.job, trial.outcome
        if "arm" not in job.note:
            raise RunError("damaged (there is no arm); restore it", file=job.directory / "trial.json", path="note")
        row = {"arm": job.note["arm"], "seed": job.seed, "trial": job.id, "hash": job.hash} | job.costs
        row |= {"state": outcome.state if outcome else "running"}
        row |= {name: getattr(outcome, name, None) for name in ("epochs", "seconds", "reason")}
        row["accuracy_validation"] = outcome.accuracy if outcome else None
        if outcome is not None and outcome.state == "complete":
            row |= read_test(job.directory) | speeds[job.hash]
            row |= _switch(job.directory)
        rows.append(row | {path: value for path, value in job.parameters.items() if path != "arm"})
    return pd.DataFrame(rows)


def _switch(directory: Path) -> dict[str, float]:
    """For arms with an auxiliary: mass left in the mask, accuracy with and without it, all in the last epoch."""
    rows = read_epochs(directory / "metrics.csv")
    if not rows:
        raise RunError("damaged or gone, of a trial that is complete; restore it", file=directory / "metrics.csv")
    last = rows[-1]
    names = {
        "mask_mass": "mask_mass",
        "accuracy_with_auxiliary": "accuracy_before_switch",
        "accuracy": "accuracy_after_switch",
    }
    return {new: last[old] for old, new in names.items() if old in last} if "mask_mass" in last else {}


def _is_whole(directory: Path) -> bool:
    """Whether what is copied of a complete cell is what it ended with."""
    try:
        check_weights(directory)
        read_test(directory)
    except SpecError:
        return False
    return True


def _finished_elsewhere(directory: Path) -> dict[str, Path]:
    """Complete cells of other ablations in the same folder of runs, by their key."""

    def found() -> Iterator[tuple[str, Path]]:
        for file in directory.parent.glob("*/trials/[0-9]*/trial.json"):
            if file.parents[2] == directory:
                continue
            try:
                cell = Job.read(file.parent).note.get("cell")
                outcome = Outcome.read(file.parent) if cell else None
            except SpecError:  # a damaged trial of another run is skipped
                continue
            if cell and outcome is not None and outcome.state == "complete":
                yield cell, file.parent

    return dict(found())
