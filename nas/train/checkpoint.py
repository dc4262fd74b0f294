"""The files of a training: checkpoint.pt while it runs, weights.safetensors at its end, metrics.csv throughout.

Each is replaced atomically. The checkpoint holds all metrics rows so far, and metrics.csv is written from them. A kill
between the two writes therefore loses nothing: the resumed training rewrites the table from the checkpoint.
Checkpoint and weights carry the fingerprint of their training (genome, images, recipe, seed, start, teacher; `job`).
A directory that belongs to another training is refused: a mix of two would give numbers that belong to neither.

A damaged checkpoint is thrown away with a warning. The one before it is kept as checkpoint.previous.pt, and the
training goes on from there, or else from the start; it computes the same.
"""

from __future__ import annotations

import csv
import json
import logging
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from nas.archive import read_archive
from nas.data import ImageSet
from nas.errors import RunError, shown
from nas.files import parse_json, regular, write_atomically
from nas.genome import Genome
from nas.model.donor import Donor
from nas.paths import difference, flat
from nas.train.recipe import Training

log = logging.getLogger(__name__)

IMAGES = "images_sha256"  # earlier trainings did not say
TRANSIENT = ("checkpoint.pt", "checkpoint.previous.pt")  # gone when the training is done, the better one first
Fingerprint = dict[str, Any]  # dotted key -> plain value
Rows = list[dict[str, Any]]


# Keys of the recipe that came after 0.1, with the value that earlier trainings had.
LATER: dict[str, Any] = {
    "layer_decay": 1.0, "inherited_lr": 0.1, "closed_form": 256,
    "accumulate": 1, "optimizer": "adamw", "momentum": None, "betas": None, "eps": None, "lr_base_size": None,
    "schedule": "cosine", "warmup_lr": 0.0, "warmup_prefix": True, "decay_epochs": None, "decay_rate": None,
    "clip_mode": "norm", "bce": False, "bce_threshold": None, "mixup_off_epoch": 0, "ema_warmup": True,
}  # fmt: skip
LATER_AUGMENT: dict[str, Any] = {
    "auto_augment": None, "ra_ops": 2, "ra_magnitude": 9, "color_jitter": 0.0, "repeats": 1
}  # fmt: skip


def recipe_of(training: Training) -> dict[str, Any]:
    """A recipe as plain data, without the later keys where they are as before: equal trainings have equal ones.

    Its name, and when checkpoints are written, are left out: beside the values they change nothing.
    """
    values = training.model_dump(mode="json", exclude={"recipe", "checkpoint_every"})
    values["augment"] = _without(values["augment"], LATER_AUGMENT)
    return _without(values, LATER)


def _without(values: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in usual or usual[key] != value}


def fingerprint_of(
    genome: Genome,
    data: ImageSet,
    training: Training,
    seed: int,
    donor: Donor | None = None,
    teacher: Donor | None = None,
) -> Fingerprint:
    """All that must be equal for a training to be resumed: JSON values under dotted keys.

    teacher: as in `train`; wherever its file is, it is the same teacher.
    """
    images = f"{data.name} {data.size}×{data.size}, {len(data.train)} train, {len(data.validation)} validation"
    given = {"preprocess": None if data.measured else data.preprocess.model_dump_json()}
    given |= {"start": donor.digest} if donor is not None else {}
    known = {"genome": genome.hash, "data": images, IMAGES: data.digest, "seed": seed}
    made = flat({**known, "training": recipe_of(training), **given})
    return made if teacher is None else made | {"training.teacher.model": teacher.digest}


class TrainingFiles:
    """The files of one training in one directory."""

    def __init__(self, directory: Path, fingerprint: Fingerprint):
        self.directory, self.fingerprint = directory, fingerprint
        self.metrics = directory / "metrics.csv"
        self.checkpoint, self.previous = (directory / name for name in TRANSIENT)
        self.weights = directory / "weights.safetensors"

    def save(self, rows: Rows, state: dict[str, Any]) -> None:
        """Write checkpoint.pt, keeping the one before it, then metrics.csv."""
        content = {"job": json.dumps(self.fingerprint), "rows": rows, **state}

        def write(path: Path) -> None:
            torch.save(content, path)
            if self.checkpoint.exists():
                os.replace(self.checkpoint, self.previous)

        write_atomically(self.checkpoint, write)
        self._write_metrics(rows)

    def load(self) -> dict[str, Any] | None:
        """The last intact checkpoint, on the CPU; None where there is none. Raises RunError for another job's."""
        for file in (self.metrics, self.checkpoint, self.weights):  # what a kill in the middle of a write left behind
            for temporary in self.directory.glob(f".{file.name}.*.tmp"):
                temporary.unlink()
        for file in (self.checkpoint, self.previous):
            if not file.exists():
                continue
            blob = regular(file).read_bytes()  # an error here is the disk's, and throws nothing away
            try:
                content = _unpacked(blob)
                job = json.loads(content["job"])
            except MemoryError:
                raise
            except Exception as error:  # damage shows in many ways
                log.warning("%s is damaged (%s) and is thrown away; the training goes on without it", file, error)
                file.unlink()
                continue
            self._check(job, file)
            self._write_metrics(content["rows"])
            return content
        return None

    def finish(self, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Write weights.safetensors, with metadata, and remove the checkpoints: the training is done."""
        blob = _ordered(save(weights, {"job": json.dumps(self.fingerprint)} | metadata))
        write_atomically(self.weights, lambda path: path.write_bytes(blob))
        self._remove_checkpoints()

    def finished(self) -> Rows | None:
        """The metrics of a training that is done, else None. Raises RunError for another job's weights.

        Damaged weights or metrics count as not done, with a warning: the end of the training writes both anew.
        """
        if not (self.weights.exists() and self.metrics.exists()):
            return None
        try:
            with safe_open(regular(self.weights), framework="pt") as file:
                job = parse_json((file.metadata() or {}).get("job", "{}"))
        except (SafetensorError, ValueError) as error:
            log.warning("%s is damaged (%s): the training is done again", self.weights, error)
            return None
        self._check(job, self.weights)
        try:
            with regular(self.metrics).open(newline="") as file:
                rows = [{name: parse_json(value) for name, value in row.items()} for row in csv.DictReader(file)]
            epochs = [row["epoch"] for row in rows]
            if epochs != list(range(1, self.fingerprint["training.epochs"] + 1)):
                raise ValueError(f"{len(epochs)} of {self.fingerprint['training.epochs']} epochs")
        except (ValueError, TypeError, KeyError, csv.Error) as error:
            log.warning("%s is damaged (%s): the training is done again", self.metrics, error)
            return None
        self._remove_checkpoints()  # left over where a kill came between finish's two steps
        return rows

    def _remove_checkpoints(self) -> None:
        for name in TRANSIENT:
            (self.directory / name).unlink(missing_ok=True)

    def _write_metrics(self, rows: Rows) -> None:
        if not rows:  # a checkpoint within the first epoch
            return

        def write(path: Path) -> None:
            with path.open("w", newline="") as file:
                table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                table.writeheader()
                table.writerows(rows)

        write_atomically(self.metrics, write)

    def _check(self, theirs: Fingerprint, file: Path) -> None:
        ours = {key: value for key, value in self.fingerprint.items() if key in theirs or key != IMAGES}
        change = difference(theirs, ours)
        if change is not None:
            what = f"{change.path} is {shown(change.old)} there and {shown(change.new)} here"
            message = f"belongs to another training: {what}; train into another directory, or delete this one"
            raise RunError(message, file=file)


def _ordered(blob: bytes) -> bytes:
    """The same safetensors file with its metadata in order: safetensors leaves that to chance, and equal trainings are
    to write equal files.
    """
    end = 8 + int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned
    return len(text).to_bytes(8, "little") + text + blob[end:]


def _unpacked(blob: bytes) -> dict[str, Any]:
    content: dict[str, Any] = read_archive(blob)
    if not content["rows"] and "within" not in content:
        raise ValueError("no epochs")
    return content
