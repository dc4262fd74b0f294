"""The training of one genome in its own directory, without a run: genome.yaml, metrics.csv, weights.safetensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from pydantic import ValidationError

from nas.account import terminal_lines
from nas.data import MAX_PIXELS, ImageSet, absolute, account_of, check_fits, check_labelled
from nas.device import usable_device
from nas.engine.lock import lock
from nas.engine.siblings import siblings
from nas.errors import RunError, SpecError, from_pydantic
from nas.files import safe_name, usable_path, write_text
from nas.genome import Genome, load_genome
from nas.genome.settings import with_settings
from nas.model import Donor
from nas.model.inheritable import check_inheritable
from nas.model.pixels import described, served
from nas.numbers import standard_error
from nas.paths import SET
from nas.timm.donor import read_donor
from nas.torch_state import generators_kept
from nas.train import Task, Training, check_teacher
from nas.train.ranks import Ranks, check_shares

if TYPE_CHECKING:
    from nas.train import Result


@dataclass(frozen=True)
class TrainingResult:
    """file: the genome, beside its weights. accuracy: on validation, a fraction, with its standard error; None
    without validation images."""

    file: Path
    accuracy: float | None
    accuracy_se: float | None
    epochs: int
    seconds: float
    metrics: pd.DataFrame


@generators_kept()
def train_genome(
    genome: str | Path | Genome | None = None,
    data: str = "digits",
    *,
    start: str | None = None,
    out: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str | None = None,
    processes: int = 1,
    max_pixels: int = MAX_PIXELS,
    progress: bool = True,
) -> TrainingResult:
    """Train one genome in its own directory; the same call again resumes.

    genome: None takes that of `start`. start: a trained model to begin with, whose image size and pixels hold: a genome
    file with its weights beside it, timm:NAME@FILE, or local-dir:FOLDER. settings: keys that begin with `training.` set
    the recipe, all others the genome. A `preprocess` of the genome or of the start is used; without one, mean and std
    are those of the training images. out: by default results/train-<genome>-<hash>. progress: print a line per epoch.
    max_pixels: as for `load_data`. processes: of this machine that train it together, each with one GPU or its share of
    the threads; the batch size stays that of all. Raises SpecError, and TrainingDiverged.

    >>> train_genome("lavit_digits", settings={"training.epochs": 3, "stages.1.split": 2}).accuracy
    """
    donor = read_donor(start) if start is not None else None
    changes = dict(settings or {})
    recipe = {path: value for path, value in changes.items() if path.split(".")[0] == "training"}
    edits = {path: value for path, value in changes.items() if path not in recipe}
    chosen = edited(_genome(genome, donor), edits)
    training = training_of(recipe)
    pixels = chosen.preprocess or (donor.genome.preprocess if donor is not None else None)
    task = Task(absolute(data), training, seed, chosen.image.size, pixels, max_pixels)
    images = task.load()
    check_labelled(images)
    if donor is not None:
        donor, head = donor.for_classes(images.classes)
        chosen = chosen.edit({"classes": len(images.classes)}) if "classes" not in edits else chosen
        check_inheritable(chosen, donor.genome)
    file = chosen.name or None
    check_fits(images, size=chosen.image.size, channels=chosen.image.channels, classes=chosen.classes, file=file)
    check_teacher(training.teacher, chosen, images)
    check_shares(training, images, processes)
    if progress:
        print(*terminal_lines(account_of(images)), sep="\n", flush=True)
    kind = "train" if donor is None else f"finetune-{donor.digest[:6]}"
    directory = usable_path(Path(out or Path("results") / safe_name(f"{kind}-{chosen.name or 'genome'}-{chosen.hash}")))
    for name, what in (("run.yaml", "a run"), ("trial.json", "a trial of a run")):
        if (directory / name).exists():
            raise RunError(f"{what} is in it; choose another --out", file=directory)
    used = usable_device(device)
    written, weights = directory / "genome.yaml", directory / "weights.safetensors"
    if donor is not None and progress:
        print(f"starting from {start}; {head}", flush=True)

    def show(row: dict[str, Any] | None) -> None:
        if row is None:
            return
        found = ""
        if "accuracy" in row:
            error = standard_error(row["accuracy"], len(images.validation))
            found = f"  accuracy {100 * row['accuracy']:6.2f} ± {100 * error:.2f} %"
        epoch = f"epoch {row['epoch']:>3}/{training.epochs}"
        print(f"{epoch}  loss {row['loss']:.4f}{found}  {row['seconds']:.1f} s", flush=True)

    threads = None if processes == 1 else max(1, torch.get_num_threads() // processes)
    alongside = partial(_alongside, chosen, task.held_to(images), seed, directory, donor, threads)
    with lock(directory, directory):
        if written.exists() and load_genome(written).hash != chosen.hash:
            raise RunError("another genome was trained here; choose another --out", file=written)
        if not written.exists():
            write_text(written, chosen.to_yaml())
        with siblings(alongside, processes, str(used)) as (ranks, place):
            result = alongside(ranks, place, images=images, report=show if progress else None)
        made = described(chosen.edit({"preprocess": None, "class_names": None}), weights)
        if made.preprocess is None:  # weights of an earlier version
            made = made.edit(served(images))
        write_text(written, made.to_yaml())
    error = None if result.accuracy is None else standard_error(result.accuracy, len(images.validation))
    return TrainingResult(written, result.accuracy, error, result.epochs, result.seconds, pd.DataFrame(result.metrics))


def _alongside(
    genome: Genome,
    task: Task,
    seed: int,
    directory: Path,
    donor: Donor | None,
    threads: int | None,
    ranks: Ranks,
    device: str,
    images: ImageSet | None = None,
    report: Callable[[dict[str, Any] | None], None] | None = None,
) -> Result:
    """The part of one process. Those that are given no images load them."""
    from nas.train import train

    return train(
        genome,
        images or task.load(),
        task.training,
        directory=directory,
        seed=seed,
        donor=donor,
        device=device,
        threads=threads,
        report=report,
        ranks=ranks,
    )


def edited(genome: str | Path | Genome, edits: Mapping[str, Any]) -> Genome:
    """A genome with settings applied. Raises GenomeError, which names the settings as the source of an error."""
    chosen = load_genome(genome)
    try:
        return chosen.edit(dict(edits)) if edits else chosen
    except SpecError as error:
        raise error.within(file=SET) from None


def _genome(genome: str | Path | Genome | None, donor: Donor | None) -> str | Path | Genome:
    if genome is not None:
        return genome
    if donor is None:
        raise SpecError("give a genome, or a trained model to start from")
    return donor.genome


def training_of(recipe: Mapping[str, Any]) -> Training:
    """The recipe with settings below `training.` applied. Raises SpecError."""
    try:
        with_settings({"training": Training().model_dump(mode="json")}, dict(recipe))  # refuses a path below a value
        return Training.model_validate(with_settings({"training": {}}, dict(recipe))["training"])
    except ValidationError as error:
        raise from_pydantic(error, Training, kind=SpecError, file=SET).within(path="training") from None
