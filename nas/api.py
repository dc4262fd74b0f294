"""The Python API: one function per command of `nas`, for scripts and notebooks.

    import nas
    found = nas.run_search("lavit_split", trials=4, settings={"training.epochs": 3})
    model = nas.build(found.directory / "winners" / f"{found.front['winner'][0]}.yaml", weights=True)

The command line parses, calls one of these, and prints. Runs are named as there: a name means results/<name>; if it has
a slash or is a run directory, it is a path. settings: keys of the file by dotted path, as for `--set`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from pydantic import ValidationError

from nas.ablation import Ablation, ablate, load_ablation, retraining
from nas.data import MAX_PIXELS, absolute, check_fits
from nas.data import load as load_data
from nas.device import usable_device
from nas.engine import OnEvent
from nas.engine.events import both, ignore
from nas.engine.origin import held_out_images
from nas.engine.record import read_record, run_directory
from nas.engine.storage import Storage
from nas.errors import RunError, SpecError, from_pydantic
from nas.files import safe_name, usable_path, write_text
from nas.genome import Genome, load_genome
from nas.genome.settings import with_settings
from nas.model import build
from nas.paths import SET
from nas.plugins import check
from nas.report import write_report as write_run_report
from nas.report import write_reports
from nas.report.ablation import write_table
from nas.report.live import Progress
from nas.search import SearchResult, SearchSpec, load_space, search
from nas.search.dry_run import DryRun, dry_run
from nas.train import Task, Training, train
from nas.train.diagnosis import Diagnosis
from nas.train.diagnosis import diagnose as diagnose_model

__all__ = [
    "AblationResult",
    "TrainingResult",
    "diagnose",
    "load_data",
    "preview_search",
    "retrain_winners",
    "run_ablation",
    "run_search",
    "train_genome",
    "write_report",
]
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class AblationResult:
    """cells: a row per arm and seed, as from `nas.ablation.cells_of`. files: the table in each format, and figures."""

    directory: Path
    cells: pd.DataFrame
    files: list[Path]


@dataclass(frozen=True)
class TrainingResult:
    """file: the genome, beside its weights. accuracy: on validation, a fraction; None without validation images."""

    file: Path
    accuracy: float | None
    epochs: int
    seconds: float
    metrics: pd.DataFrame


def run_search(
    space: str | Path | SearchSpec,
    run: str | Path | None = None,
    *,
    settings: Settings | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> SearchResult:
    """Search a space (a name in search_spaces/, a YAML file, or a loaded space), and write the run's report.

    run: by default results/<space>-<data>; an existing run resumes. progress: show it, in a terminal or a notebook.
    Raises SpecError for user errors.

    >>> run_search("lavit_split", settings={"trials": 4, "training.epochs": 3}).front
    """
    with naming_plugins(run):
        spec = _space(space, settings)
    directory = run_directory(run or default_run(spec))
    trainings = spec.trials * spec.repeat * (2 if spec.baseline else 1)
    text = f"searching {spec.name} on {spec.data}: {spec.trials} trials, in {shown(directory)}"
    with _watched(text, directory, trainings, spec, list(spec.objectives), progress, on_event) as listener:
        found = search(spec, directory, on_event=listener)
    write_run_report(directory)
    _store(spec, directory)
    return found


def preview_search(space: str | Path | SearchSpec, *, settings: Settings | None = None) -> DryRun:
    """Preview a search: sizes, shares, costs, time. Takes some seconds and makes no run.

    >>> preview_search("mixed", settings={"budget.macs": 950_000}).feasible
    """
    return dry_run(_space(space, settings))


def run_ablation(
    table: str | Path | Ablation,
    run: str | Path | None = None,
    *,
    settings: Settings | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> AblationResult:
    """Train every arm with every seed, test them, and write the table. Arguments as for `run_search`.

    >>> run_ablation("lavit_parts", settings={"seeds": 2, "training.epochs": 3}).cells
    """
    with naming_plugins(run):
        spec = table if isinstance(table, Ablation) else load_ablation(str(table))
        spec = spec.with_settings(dict(settings or {}))
    directory = run_directory(run or default_run(spec))
    cells = len(spec.arms_of(spec.genome())) * len(spec.seed_list)
    text = f"ablation {spec.name} on {spec.data}: {cells} cells, in {shown(directory)}"
    with _watched(text, directory, cells, spec, ["accuracy"], progress, on_event) as listener:
        found = ablate(spec, directory, on_event=listener)
    files = write_table(directory)
    _store(spec, directory)
    return AblationResult(directory, found, files)


def retrain_winners(
    run: str | Path,
    *,
    settings: Settings | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> AblationResult:
    """Train a search's winners from scratch on training and validation images, with several seeds, and test them once.

    An ablation in <run>-retrained, of the base genome and every winner. settings: any key of that ablation.

    >>> retrain_winners("my_run", settings={"seeds": 5, "training.epochs": 100}).cells
    """
    directory = Path(os.path.abspath(run_directory(run)))  # `.` has no name
    spec = retraining(directory)
    beside = directory.with_name(spec.name)
    return run_ablation(spec, beside, settings=settings, progress=progress, on_event=on_event)


def train_genome(
    genome: str | Path | Genome,
    data: str = "digits",
    *,
    out: str | Path | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    device: str | None = None,
    max_pixels: int = MAX_PIXELS,
    progress: bool = True,
) -> TrainingResult:
    """Train one genome in its own directory; the same call again resumes.

    settings: keys that begin with `training.` set the recipe, all others the genome. out: by default
    results/train-<genome>-<hash>. max_pixels: as for `load_data`. progress: print a line per epoch. Raises SpecError,
    and TrainingDiverged.

    >>> train_genome("lavit_digits", settings={"training.epochs": 3, "stages.1.split": 2}).accuracy
    """
    changes = dict(settings or {})
    recipe = {path: value for path, value in changes.items() if path.split(".")[0] == "training"}
    chosen = edited(genome, {path: value for path, value in changes.items() if path not in recipe})
    try:
        spec = with_settings({"training": Training().model_dump(mode="json")}, recipe)
        training = Training.model_validate(spec["training"])
    except ValidationError as error:
        raise from_pydantic(error, Training, kind=SpecError, file=SET).within(path="training") from None
    image = chosen.image
    images = Task(absolute(data), training, seed, image.size, max_pixels).load()
    check_fits(images, size=image.size, channels=image.channels, classes=chosen.classes, file=chosen.name or None)
    directory = usable_path(Path(out or Path("results") / safe_name(f"train-{chosen.name or 'genome'}-{chosen.hash}")))
    file = directory / "genome.yaml"
    if file.exists() and load_genome(file).hash != chosen.hash:
        raise RunError("another genome was trained here; choose another --out", file=file)
    used = usable_device(device)
    write_text(file, chosen.to_yaml())

    def show(row: dict[str, Any]) -> None:
        found = f"  accuracy {100 * row['accuracy']:6.2f} %" if "accuracy" in row else ""
        epoch = f"epoch {row['epoch']:>3}/{training.epochs}"
        print(f"{epoch}  loss {row['loss']:.4f}{found}  {row['seconds']:.1f} s", flush=True)

    report = show if progress else None
    result = train(chosen, images, training, directory=directory, seed=seed, device=used, report=report)
    return TrainingResult(file, result.accuracy, result.epochs, result.seconds, pd.DataFrame(result.metrics))


def diagnose(
    genome: str | Path,
    *,
    weights: str | Path | None = None,
    data: str | None = None,
    images: int = 256,
    device: str | None = None,
) -> Diagnosis:
    """The attention of a trained model, layer by layer (nas/train/diagnosis.py).

    weights: by default those beside the genome file; a preset without weights is diagnosed untrained.
    data: by default that of the genome's run, else digits; `images` of its validation split are used.

    >>> diagnose("results/my_run/winners/w1-0007.yaml").layers[1].similarity
    """
    if images < 1:
        raise SpecError(f"expected at least one image, found {images}", path="images")
    split = held_out_images(str(genome), data, images)
    used = usable_device(device)
    torch.manual_seed(0)
    model = build(genome, weights=weights or (True if os.path.exists(genome) else None))
    return diagnose_model(model.to(used), split, device=used)


def write_report(run: str | Path) -> list[Path]:
    """Write a run's page and figures, or an ablation's table, from its files only; also while it is running.

    >>> write_report("my_run")
    [PosixPath('results/my_run/report.html')]
    """
    return write_reports(run_directory(run))


def edited(genome: str | Path | Genome, edits: Settings) -> Genome:
    """A genome with settings applied. Raises GenomeError, which names the settings as the source of an error."""
    chosen = load_genome(genome)
    try:
        return chosen.edit(dict(edits)) if edits else chosen
    except SpecError as error:
        raise error.within(file=SET) from None


@contextmanager
def naming_plugins(run: str | Path | None) -> Iterator[None]:
    """If an unknown name may come from a plug-in of the run that is not loaded, report the plug-in instead."""
    try:
        yield
    except SpecError:
        if run is not None:
            file = run_directory(run) / "run.yaml"
            check((read_record(file.parent) or {}).get("plugins"), file=file)
        raise


def default_run(spec: SearchSpec | Ablation) -> str:
    """The default name of a run, from spec and data: `lavit_split-digits`."""
    return safe_name(f"{spec.name}-{spec.data.rstrip('/').replace(':', '/').rpartition('/')[2]}")


def shown(path: Path) -> str:
    """A path relative to the working directory, if it is below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _space(space: str | Path | SearchSpec, settings: Settings | None) -> SearchSpec:
    spec = space if isinstance(space, SearchSpec) else load_space(space)
    return spec.with_settings(dict(settings or {}))


def _store(spec: SearchSpec | Ablation, directory: Path) -> None:
    """Upload the page or the table to the run's storage, if it has one."""
    storage = Storage.of(spec.storage, directory)
    if storage is not None:
        storage.save_files(directory)


@contextmanager
def _watched(
    text: str,
    directory: Path,
    trainings: int,
    spec: SearchSpec | Ablation,
    objectives: list[str],
    progress: bool,
    on_event: OnEvent | None,
) -> Iterator[OnEvent]:
    """An `on_event` that shows progress, if requested, and calls the caller's own."""
    if not progress:
        yield on_event or ignore
        return
    display = Progress(directory, trials=trainings, epochs=spec.training.epochs, objectives=objectives)
    display.say(text)
    if display.counts:
        display.say(f"resuming: {display.counts.total() - display.counts['running']} trials have ended before")

    with display:
        yield both(display, on_event) if on_event is not None else display
