"""The files of a training: checkpoint.pt while it runs, weights.safetensors at its end, metrics.csv throughout.

Each is replaced atomically. The checkpoint holds all metrics rows so far, and metrics.csv is written from them. A kill
between the two writes therefore loses nothing: the resumed training rewrites the table from the checkpoint.
Checkpoint and weights carry the fingerprint of their training (genome, data, recipe, seed; key `job`). A directory that
belongs to another training is refused: a mix of two trainings would give numbers that belong to neither.
"""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nas.data import ImageSet
from nas.errors import RunError, shown
from nas.files import write_atomically
from nas.genome import Genome
from nas.paths import difference, flat
from nas.train.recipe import Training

Fingerprint = dict[str, Any]  # dotted key -> plain value
Rows = list[dict[str, Any]]


def fingerprint_of(genome: Genome, data: ImageSet, training: Training, seed: int) -> Fingerprint:
    """All that must be equal for a training to be resumed: JSON values under dotted keys."""
    images = f"{data.name} {data.size}×{data.size}, {len(data.train)} train, {len(data.validation)} validation"
    recipe = training.model_dump(mode="json")
    return flat({"genome": genome.hash, "data": images, "seed": seed, "training": recipe})


class TrainingFiles:
    """The files of one training in one directory."""

    def __init__(self, directory: Path, fingerprint: Fingerprint):
        self.directory, self.fingerprint = directory, fingerprint
        self.metrics = directory / "metrics.csv"
        self.checkpoint = directory / "checkpoint.pt"
        self.weights = directory / "weights.safetensors"

    def save(self, rows: Rows, state: dict[str, Any]) -> None:
        """Write checkpoint.pt, then metrics.csv."""
        content = {"job": json.dumps(self.fingerprint), "rows": rows, **state}
        write_atomically(self.checkpoint, lambda path: torch.save(content, path))
        self._write_metrics(rows)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The checkpoint on `device`, or None. Raises RunError if it is damaged or another training's."""
        for file in (self.metrics, self.checkpoint, self.weights):  # left by a kill during a write
            for temporary in self.directory.glob(f".{file.name}.*.tmp"):
                temporary.unlink()
        if not self.checkpoint.exists():
            return None
        try:
            content: dict[str, Any] = torch.load(self.checkpoint, map_location=device, weights_only=True)
            theirs = json.loads(content["job"])
        except (RuntimeError, ValueError, KeyError, EOFError, pickle.UnpicklingError) as error:
            raise RunError(f"damaged; delete it to train from the start ({error})", file=self.checkpoint) from None
        self._check(theirs, self.checkpoint)
        self._write_metrics(content["rows"])
        return content

    def finish(self, weights: dict[str, Tensor]) -> None:
        """Write weights.safetensors and remove the checkpoint: the training is done."""
        metadata = {"job": json.dumps(self.fingerprint)}
        write_atomically(self.weights, lambda path: save_file(weights, path, metadata=metadata))
        self.checkpoint.unlink(missing_ok=True)

    def finished(self) -> Rows | None:
        """The metrics of a training that is done, else None. Raises RunError as `load` does, for the weights."""
        if not (self.weights.exists() and self.metrics.exists()):
            return None
        try:
            with safe_open(self.weights, framework="pt") as file:
                theirs = json.loads((file.metadata() or {}).get("job", "{}"))
        except SafetensorError as error:
            raise RunError(f"damaged; delete it to train from the start ({error})", file=self.weights) from None
        self._check(theirs, self.weights)
        self.checkpoint.unlink(missing_ok=True)  # left by a kill between the two steps of `finish`
        with self.metrics.open(newline="") as file:
            return [{name: json.loads(value) for name, value in row.items()} for row in csv.DictReader(file)]

    def _write_metrics(self, rows: Rows) -> None:
        def write(path: Path) -> None:
            with path.open("w", newline="") as file:
                table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                table.writeheader()
                table.writerows(rows)

        write_atomically(self.metrics, write)

    def _check(self, theirs: Fingerprint, file: Path) -> None:
        change = difference(theirs, self.fingerprint)
        if change is not None:
            what = f"{change.path} is {shown(change.old)} there and {shown(change.new)} here"
            message = f"belongs to another training: {what}; train into another directory, or delete this one"
            raise RunError(message, file=file)
