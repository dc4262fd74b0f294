"""The Python API: one function per command of `nas`, for scripts and notebooks.

    import nas
    found = nas.run_search("lavit_split", settings={"trials": 4, "training.epochs": 3})
    model = nas.build(found.directory / "winners" / f"{found.front['winner'][0]}.yaml", weights=True)

The command line parses, calls one of these, and prints. Runs are named as there: a name means results/<name>; if it has
a slash or is a run directory, it is a path. settings: keys of the file by dotted path, as for `--set`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from nas.ablation import Ablation, ablate, load_ablation, retraining
from nas.convert.spec import ConversionSpec, conversion_of
from nas.data import absolute, account_of
from nas.data import load as load_data
from nas.device import usable_device
from nas.engine import OnEvent
from nas.engine.events import both, ignore
from nas.engine.origin import held_out_images
from nas.engine.single import TrainingResult, train_genome, training_of
from nas.engine.storage import Storage
from nas.errors import SpecError
from nas.files import check_target
from nas.model import build
from nas.model.build import weights_beside
from nas.profiling import TargetTable
from nas.report import write_report as write_run_report
from nas.report import write_reports
from nas.report.card import card
from nas.report.live import Progress
from nas.report.pick import Winner
from nas.report.pick import best_winner as pick_winner
from nas.run_names import directory_for, naming_plugins, relative, run_directory
from nas.search import SearchResult, SearchSpec, load_space, search
from nas.search.dry_run import DryRun, dry_run
from nas.search.latency import Runtime
from nas.search.latency import measure_latency as measure_space
from nas.serve import ENDINGS, Exported
from nas.serve import export as export_file
from nas.torch_state import generators_kept
from nas.train import Task
from nas.train.diagnosis import Diagnosis
from nas.train.diagnosis import diagnose as diagnose_model

if TYPE_CHECKING:
    from nas.convert.run import ConversionResult

__all__ = [
    "AblationResult",
    "TrainingResult",
    "Winner",
    "best_winner",
    "describe_data",
    "diagnose",
    "export",
    "load_data",
    "measure_latency",
    "preview_search",
    "retrain_winners",
    "run_ablation",
    "run_conversion",
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
    directory = directory_for(spec, run)
    trainings = spec.trials * spec.repeat * (2 if spec.baseline else 1)
    text = f"searching {spec.name} on {spec.data}: {spec.trials} trials, in {relative(directory)}"
    with _watched(text, trainings, spec, list(spec.objectives), progress, on_event) as listener:
        found = search(spec, directory, on_event=listener)
    write_run_report(directory)
    _store(spec, directory)
    return found


@generators_kept()
def preview_search(
    space: str | Path | SearchSpec, *, settings: Settings | None = None, on_event: OnEvent | None = None
) -> DryRun:
    """Preview a search: the data, sizes, shares, costs, time. Makes no run, and takes some seconds when data is loaded.

    on_event: is told what was loaded, and what is being done.

    >>> preview_search("mixed", settings={"budget.macs": 950_000}).feasible
    """
    return dry_run(_space(space, settings), on_event=on_event or ignore)


@generators_kept()
def measure_latency(
    space: str | Path | SearchSpec,
    out: str | Path,
    *,
    batch_size: int = 1,
    threads: int | None = None,
    device: str | None = None,
    runtime: Runtime = "torch",
    image: Mapping[str, int] | None = None,
    settings: Settings | None = None,
    on_event: OnEvent | None = None,
) -> TargetTable:
    """Time the parts of a space on this machine, and write them to `out`, for searches elsewhere: `budget.table`.

    threads: on the CPU, by default torch's. device: cpu, cuda; by default a GPU if there is one, with onnx the CPU.
    image: image.size, image.channels and classes of the search, where its data is not on this machine; None loads it.
    Raises SpecError for user errors. Nothing else should run meanwhile.

    >>> measure_latency("mixed", "table.json", runtime="onnx", threads=4).accuracy
    """
    out = Path(out)
    check_target(out, "--out")
    used = device or "cpu" if runtime == "onnx" else usable_device(device)
    table = measure_space(
        _space(space, settings),
        batch_size=batch_size,
        threads=threads,
        device=used,
        runtime=runtime,
        image=dict(image or {}),
        on_event=on_event or ignore,
    )
    table.write(out)
    return table


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
    from nas.report.ablation import write_table  # brings scipy and matplotlib, which a search can do without

    with naming_plugins(run):
        spec = table if isinstance(table, Ablation) else load_ablation(str(table))
        spec = spec.with_settings(dict(settings or {}))
    directory = directory_for(spec, run)
    cells = len(spec.arms_of(spec.genome())) * len(spec.seed_list)
    text = f"ablation {spec.name} on {spec.data}: {cells} cells, in {relative(directory)}"
    with _watched(text, cells, spec, ["accuracy"], progress, on_event) as listener:
        found = ablate(spec, directory, on_event=listener)
    files = write_table(directory)
    _store(spec, directory)
    return AblationResult(directory, found, files)


def run_conversion(
    model: str | Path | ConversionSpec,
    run: str | Path | None = None,
    *,
    settings: Settings | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> ConversionResult:
    """Find which layers of a trained model may drop softmax attention, at what price, and repair the best assemblies.

    model: a genome file with its weights beside it, timm:NAME@FILE, local-dir:FOLDER; or a loaded conversion. run: by
    default results/convert-<model>-<data>. settings: any key of nas/convert/spec.py, such as `data` and `budget.macs`.
    Raises SpecError for user errors.

    >>> run_conversion("results/my_run/winners/w1-0007.yaml", settings={"budget.macs": "0.8x"}).sensitivity
    """
    from nas.convert.run import convert  # brings scipy, which a search can do without

    spec = model if isinstance(model, ConversionSpec) else conversion_of(str(model))
    spec = spec.with_settings(dict(settings or {}))
    directory = directory_for(spec, run)
    text = f"converting {spec.start} on {spec.data}, in {relative(directory)}"
    with _watched(text, spec.most_trials, spec, list(spec.objectives), progress, on_event) as listener:
        found = convert(spec, directory, on_event=listener)
    write_run_report(directory)
    _store(spec, directory)
    return found


def retrain_winners(
    run: str | Path,
    *,
    from_scratch: bool = False,
    settings: Settings | None = None,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> AblationResult:
    """Train a search's winners again on training and validation images, with several seeds, and test them once.

    An ablation in <run>-retrained, of the base genome and every winner; if the search started from a trained model, so
    does this, unless `from_scratch` (then in <run>-from-scratch). settings: any key of that ablation.

    >>> retrain_winners("my_run", settings={"seeds": 5, "training.epochs": 100}).cells
    """
    directory = Path(os.path.abspath(run_directory(run)))  # `.` has no name
    spec = retraining(directory, from_scratch=from_scratch)
    beside = directory.with_name(spec.name)
    return run_ablation(spec, beside, settings=settings, progress=progress, on_event=on_event)


def describe_data(
    source: str,
    *,
    size: int | None = None,
    settings: Settings | None = None,
    seed: int = 0,
    sheet: str | Path | None = None,
) -> dict[str, Any]:
    """What a source holds, and how a run would split it: the account that run.yaml has (nas/data/account.py).

    size: side to which images are brought; None keeps their own. settings: keys of `training.` that concern data
    (validation, limit, augment). sheet: a PNG to draw, of training images as they are and as augmented.

    >>> describe_data("digits")["images"]
    {'train': 1150, 'validation': 288, 'test': 359}
    """
    training = training_of(dict(settings or {}))
    if sheet is not None:
        from nas.report.sheet import check_sheet, write_sheet

        check_sheet(Path(sheet))
    images, _ = Task(absolute(source), training, seed, size).prepared()
    if sheet is not None:
        write_sheet(images, Path(sheet), training.augment, seed=seed)
    return account_of(images)


@generators_kept()
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
    used = usable_device(device)
    file = Path(weights) if weights else weights_beside(genome) if os.path.exists(genome) else None
    torch.default_generator.manual_seed(0)  # models are built on the CPU: the GPUs need no seed
    model = build(genome, weights=file)
    split = held_out_images(str(genome), data, images, file)
    return diagnose_model(model.to(used), split, device=used)


@generators_kept()
def export(
    genome: str | Path, to: str | Path, *, weights: str | Path | None = None, with_preprocess: bool = False
) -> Exported:
    """Write a trained model for use elsewhere, and check what was written against the model.

    to: a file name that ends in .pt2 (torch.export) or .onnx, for the deployed graph with any batch size, or a folder
    that timm loads: config.json, model.safetensors and a card (nas/timm/folder.py). weights: a safetensors file; None
    takes the one beside the genome. with_preprocess: the file takes uint8 images and answers with probabilities.
    Raises SpecError for another ending, missing packages, missing weights or those of another genome, an unknown
    preprocessing that is needed, and for a file that answers otherwise than the model.

    >>> export("results/my_run/winners/w1-0007.yaml", "model.onnx").difference
    2.4e-07
    """
    folder = os.path.isdir(to) and Path(to).suffix not in ENDINGS
    if not (str(to).endswith("/") or folder or Path(to).suffix == ""):
        return export_file(genome, to, weights=weights, with_preprocess=with_preprocess)
    if with_preprocess:
        raise SpecError("timm prepares images itself: a folder says how; only files have it inside", path="--to")
    from nas.timm.folder import write_folder  # imports timm, which takes seconds

    image = write_folder(genome, to, card=partial(card, genome), weights=weights).image
    return Exported(
        Path(to), f"images (batch, {image.channels}, {image.size}, {image.size}), normalised", "logits", 0.0
    )


def write_report(
    run: str | Path, *others: str | Path, out: str | Path | None = None, figures: bool = False
) -> list[Path]:
    """Write a run's page and figures, or an ablation's table, from its files only; also while it is running.

    others: further runs; one page then compares all of them, and nothing is written into the runs. out: that page, by
    default comparison.html. figures: write every figure of one run as SVG and PDF too (`nas.plots` has each).

    >>> write_report("my_run")
    [PosixPath('results/my_run/report.html')]
    """
    directories = [run_directory(each) for each in (run, *others)]
    return write_reports(*directories, out=None if out is None else Path(out), figures=figures)


def best_winner(run: str | Path, /, **limits: float) -> Winner:
    """The best winner of a search or conversion within limits on its costs, by the run's first objective.

    limits: metrics, in the unit of a budget; at most where less is better, at least where more is. Measured values
    count before predicted ones. Raises RunError for a run without winners, and with the nearest winner if none fits.

    >>> nas.load(best_winner("my_run", macs=900_000, throughput=5_000).genome)
    """
    return pick_winner(run_directory(run), limits)


def _space(space: str | Path | SearchSpec, settings: Settings | None) -> SearchSpec:
    spec = space if isinstance(space, SearchSpec) else load_space(space)
    return spec.with_settings(dict(settings or {}))


def _store(spec: SearchSpec | Ablation | ConversionSpec, directory: Path) -> None:
    """Upload the page or the table to the run's storage, if it has one."""
    storage = Storage.of(spec.storage, directory)
    if storage is not None:
        storage.save_files(directory)


@contextmanager
def _watched(
    text: str,
    trainings: int,
    spec: SearchSpec | Ablation | ConversionSpec,
    objectives: list[str],
    progress: bool,
    on_event: OnEvent | None,
) -> Iterator[OnEvent]:
    """An `on_event` that shows progress, if requested, and calls the caller's own."""
    if not progress:
        yield on_event or ignore
        return
    display = Progress(trials=trainings, epochs=spec.training.epochs, objectives=objectives)
    display.say(text)
    with display:
        yield both(display, on_event) if on_event is not None else display
