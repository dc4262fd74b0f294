"""The work on a trial of a conversion: the parent with the trial's pieces in it, trained for a few epochs, or as it is.

With `repair: false` an assembly stays as the library or a shared training left it, and is evaluated once. A repair
draws it back to its teacher, which after a shared training it may have outdone. Such a trial has weights, an accuracy,
0 epochs, and no metrics.csv.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nas.convert.candidates import Candidate
from nas.convert.library import converted, transplanted
from nas.convert.workers import States
from nas.engine import Job
from nas.engine.training import TrainJob, check_unchanged, images_of
from nas.engine.worker import Report
from nas.model import Donor, Model
from nas.model.pixels import metadata_of
from nas.numbers import standard_error


@dataclass(frozen=True)
class Repair:
    """base, states: the parent and the pieces, as the library or a shared training left them.

    trained: whether assemblies are trained; otherwise they are evaluated as they are.
    """

    base: Donor
    candidates: Mapping[str, Candidate]
    states: States
    training: TrainJob
    trained: bool

    def __call__(self, job: Job, report: Report) -> dict[str, Any]:
        model = converted(self.base, job.parameters, self.candidates, self.states)
        donor = transplanted(model, job.parameters)
        work = replace(self.training, donor=donor)
        return work(job, report) if self.trained else _kept(work, model, donor, job)


def _kept(work: TrainJob, model: Model, donor: Donor, job: Job) -> dict[str, Any]:
    """Write the model as it is, and evaluate it."""
    import torch  # in the worker; the driver does without

    from nas.train import evaluate
    from nas.train.checkpoint import TrainingFiles, fingerprint_of

    begin = time.perf_counter()
    torch.set_num_threads(work.threads)
    images, training = images_of(work.task, job.genome.image.size), work.task.training
    accuracy = evaluate(model.to(work.device), images.validation, device=work.device)
    check_unchanged(images)
    fingerprint = fingerprint_of(job.genome, images, training, job.seed, donor, work.teacher)
    TrainingFiles(job.directory, fingerprint).finish(dict(donor.state), metadata_of(images))
    error = standard_error(accuracy, len(images.validation))
    return {"accuracy": accuracy, "accuracy_se": error, "epochs": 0, "seconds": time.perf_counter() - begin}
