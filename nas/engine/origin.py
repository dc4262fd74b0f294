"""The origin of a genome file: the run that it belongs to, and that run's held-out images.

RUN/winners/NAME.yaml, RUN/trials/ID/genome.yaml
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.data import MAX_PIXELS, Split, check_fits
from nas.engine.record import read_record
from nas.genome import load_genome
from nas.model.pixels import described
from nas.train import Task, Training


def record_of(genome: Path) -> dict[str, Any] | None:
    """run.yaml of the run that a genome file belongs to, or None."""
    if not genome.exists():
        return None
    records = [read_record(folder) for folder in genome.resolve().parents[:3]]
    return next((record for record in records if record is not None), None)


def held_out_images(genome: str, data: str | None, count: int, weights: Path | None = None) -> Split:
    """At most `count` validation images, evenly spaced, for a genome (preset or file).

    For a genome in a run directory, they come from the run's own validation split, not its training images.
    Otherwise, or with other `data`, the split is that of `nas train`. They are preprocessed as the genome or its
    weights say. Raises DataError, GenomeError, RunError.
    """
    chosen, record = load_genome(genome), record_of(Path(genome)) or {}
    chosen = described(chosen, weights) if weights else chosen
    spec = record.get("spec", {})
    training = Training.model_validate(spec.get("training", {}))
    source = data or spec.get("data", "digits")
    if source != spec.get("data"):
        training = training.model_copy(update={"limit": None})
    limit = spec.get("max_pixels", MAX_PIXELS)
    images = Task(source, training, record.get("seed", 0), chosen.image.size, chosen.preprocess, limit).load()
    check_fits(images, size=chosen.image.size, channels=chosen.image.channels, classes=chosen.classes, file=genome)
    return images.validation.spread(count)
