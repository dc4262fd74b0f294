"""Where a run can be tracked, one class each. All write from the driver, one tracker run for each trial.

    tensorboard   <run>/tensorboard/0007/: scalars by epoch, parameters and outcome in the HParams tab
    mlflow        an experiment called like the run, in $MLFLOW_TRACKING_URI, else <run>/mlruns (files)
    wandb         project nas-vit, group <run>; offline in <run>/wandb unless $WANDB_MODE says otherwise (`wandb sync`)
    csv           <run>/tracked.csv: one long table, a row for each trial, epoch and metric

`begin` opens or reopens the run of a trial, whose id an earlier session was given; `nas/engine/tracking.py` calls it.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from nas.engine.job import Job, Outcome
from nas.environment import mlflow_store, wandb_mode
from nas.files import regular

Name = Literal["tensorboard", "mlflow", "wandb", "csv"]
Metrics = Mapping[str, float]


class Tracker(Protocol):
    package: ClassVar[str | None]  # what it imports; the extra has the tracker's name
    reopens: ClassVar[bool]  # whether a process can leave a run and begin it again

    def __init__(self, directory: Path, run: str) -> None: ...

    def begin(self, job: Job, known: str | None) -> str: ...  # the id of the tracker's run; known: from before

    def epoch(self, job: Job, epoch: int, metrics: Metrics) -> None: ...

    def end(self, job: Job, outcome: Outcome) -> None: ...

    def leave(self, job: Job) -> None: ...  # the trial has paused, or the session ends


class TensorBoard:
    package: ClassVar[str | None] = "tensorboardX"
    reopens: ClassVar[bool] = True

    def __init__(self, directory: Path, run: str) -> None:
        self.folder = directory / "tensorboard"
        self.writers: dict[int, Any] = {}

    def begin(self, job: Job, known: str | None) -> str:
        from tensorboardX import SummaryWriter

        folder = self.folder / job.id
        before = len(
            list(folder.glob("events.*"))
        )  # their names have the second: one that is begun in it is overwritten
        self.writers[job.number] = SummaryWriter(str(folder), filename_suffix=f".{before:04d}")
        return job.id

    def epoch(self, job: Job, epoch: int, metrics: Metrics) -> None:
        for name, value in metrics.items():
            self.writers[job.number].add_scalar(name, value, epoch)
        self.writers[job.number].flush()

    def end(self, job: Job, outcome: Outcome) -> None:
        from tensorboardX.summary import hparams

        final = _final(outcome)
        writer = self.writers[job.number]
        for name, value in final.items():
            writer.add_scalar(f"end/{name}", value, outcome.epochs)
        held = {key: v if isinstance(v, bool | int | float | str) else str(v) for key, v in job.parameters.items()}
        for part in hparams(held | {"state": outcome.state}, {f"end/{name}": value for name, value in final.items()}):
            writer.file_writer.add_summary(part)

    def leave(self, job: Job) -> None:
        if (writer := self.writers.pop(job.number, None)) is not None:
            writer.close()


class MLflow:
    package: ClassVar[str | None] = "mlflow"
    reopens: ClassVar[bool] = True
    STATUS: ClassVar[dict[str, str]] = {"complete": "FINISHED", "pruned": "KILLED"}  # anything else: FAILED

    def __init__(self, directory: Path, run: str) -> None:
        uri = mlflow_store(directory / "mlruns")
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=uri)
        found = self.client.get_experiment_by_name(run)
        self.experiment = found.experiment_id if found is not None else self.client.create_experiment(run)
        self.ids: dict[int, str] = {}

    def begin(self, job: Job, known: str | None) -> str:
        if known is None:
            made = self.client.create_run(self.experiment, run_name=job.id, tags={"genome": job.hash})
            known = str(made.info.run_id)
            for key, value in job.parameters.items():
                self.client.log_param(known, re.sub(r"[^\w\-. :/]", "_", key), value)
        else:
            self.client.update_run(known, status="RUNNING")
        self.ids[job.number] = known
        return known

    def epoch(self, job: Job, epoch: int, metrics: Metrics) -> None:
        for name, value in metrics.items():
            self.client.log_metric(self.ids[job.number], name, value, step=epoch)

    def end(self, job: Job, outcome: Outcome) -> None:
        run = self.ids[job.number]
        self.client.set_tag(run, "state", outcome.state)
        for name, value in _final(outcome).items():
            self.client.log_metric(run, f"end/{name}", value, step=outcome.epochs)
        self.client.set_terminated(run, status=self.STATUS.get(outcome.state, "FAILED"))

    def leave(self, job: Job) -> None:
        self.ids.pop(job.number, None)


class WandB:
    package: ClassVar[str | None] = "wandb"
    reopens: ClassVar[bool] = False  # "run ID is in use": a run stays open while its trial is paused

    def __init__(self, directory: Path, run: str) -> None:
        import wandb

        self.wandb, self.directory, self.run = wandb, directory, run
        self.runs: dict[int, Any] = {}

    def begin(self, job: Job, known: str | None) -> str:
        mode: Any = wandb_mode()
        made = self.wandb.init(
            project="nas-vit", group=self.run, name=job.id, id=known, resume="allow", dir=str(self.directory),
            mode=mode, config=dict(job.parameters) | {"genome": job.hash}, reinit="create_new",
            settings=self.wandb.Settings(silent=True, console="off", disable_git=True, x_disable_stats=True),
        )  # fmt: skip
        self.runs[job.number] = made
        return str(made.id)

    def epoch(self, job: Job, epoch: int, metrics: Metrics) -> None:
        self.runs[job.number].log(dict(metrics), step=epoch)

    def end(self, job: Job, outcome: Outcome) -> None:
        final = {f"end/{name}": value for name, value in _final(outcome).items()}
        self.runs[job.number].summary.update(final | {"state": outcome.state})

    def leave(self, job: Job) -> None:
        if (run := self.runs.pop(job.number, None)) is not None:
            run.finish(quiet=True)


class CSV:
    package: ClassVar[str | None] = None
    reopens: ClassVar[bool] = True

    def __init__(self, directory: Path, run: str) -> None:
        self.file = directory / "tracked.csv"

    def begin(self, job: Job, known: str | None) -> str:
        if not self.file.exists():
            self.file.write_text("trial,epoch,metric,value\n")
        return job.id

    def epoch(self, job: Job, epoch: int, metrics: Metrics) -> None:
        with regular(self.file).open("a", newline="") as file:
            rows = ((job.id, epoch, name, value) for name, value in metrics.items())
            csv.writer(file, lineterminator="\n").writerows(rows)

    def end(self, job: Job, outcome: Outcome) -> None:
        self.epoch(job, outcome.epochs, {f"end/{name}": value for name, value in _final(outcome).items()})

    def leave(self, job: Job) -> None:
        """The file is closed after each epoch."""


TRACKERS: dict[Name, type[Tracker]] = {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB, "csv": CSV}


def _final(outcome: Outcome) -> dict[str, float]:
    """Accuracy and costs of a trial that has ended, as far as they are known."""
    found = {"accuracy": outcome.accuracy, "seconds": outcome.seconds} | outcome.costs
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}
