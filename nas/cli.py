"""The verbs of `nas`. Each one reads its arguments, calls one function of the package, and prints what came out.

Exit codes: 0 done, 1 a bug (with its traceback), 2 a mistake in the input (one message, nothing written), 130
interrupted. Imports are inside the verbs, so that `nas --help` answers at once and `nas cost` does not wait for Ray.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from nas.errors import RunError, SpecError
from nas.files import write_text
from nas.paths import SET, parse_settings

if TYPE_CHECKING:
    from rich.console import Console
    from torch.export import ExportedProgram

    from nas.ablation import Ablation
    from nas.genome import Genome

app = typer.Typer(
    name="nas",
    help="Search and compare Vision Transformer architectures under MACs and throughput budgets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

GenomeArgument = Annotated[
    str, typer.Argument(metavar="GENOME", help="preset name (see `nas presets`) or genome YAML file")
]
DATA_HELP = "digits, cifar10, ..., imagefolder:PATH or parquet:PATH"
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="set any key by its dotted path; several in one string, or repeated"
    ),
]


@app.command()
def search(
    space: Annotated[str, typer.Argument(metavar="SPACE", help="name in search_spaces/, or a YAML file")],
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    trials: Annotated[int | None, typer.Option(help="how many trials the run has in the end")] = None,
    run: Annotated[str | None, typer.Option(help="name in results/, or a path; default <space>-<data>")] = None,
    set_: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what the space holds and how long it takes; no run is made")
    ] = False,
) -> None:
    """Search a space and print its Pareto front. Again with the same run: resumes, or goes further with more trials.

    --set changes any key of the space: --set "training.epochs=30 budget.macs=2e8".
    """
    from nas.search import load_space, search

    changes = parse_settings(set_ or []) | ({"data": data} if data else {})
    changes |= {"trials": trials} if trials is not None else {}
    chosen = load_space(space).with_settings(changes)
    if dry_run:
        from nas.report.preview import preview

        _console().print(preview(chosen))
        return
    directory = _run_directory(run or _run_name(chosen.name, chosen.data))

    from nas.report.live import Progress  # after the space is known to be right

    print(f"searching {chosen.name} on {chosen.data}: {chosen.trials} trials, in {_shown(directory)}", flush=True)
    trainings = chosen.trials * chosen.repeat * (2 if chosen.baseline else 1)
    progress = Progress(directory, trials=trainings, epochs=chosen.training.epochs, objectives=list(chosen.objectives))
    if progress.counts:
        print(f"resuming: {progress.counts.total() - progress.counts['running']} trials have ended before", flush=True)
    try:
        with progress:
            result = search(chosen, directory, on_event=progress)
    except KeyboardInterrupt:
        print("\ninterrupted")
        if (directory / "run.yaml").exists():
            _show_front(directory)
        _leave_resumable()
    from nas.report import report

    if result.message:
        print(result.message)
    page = report(directory)
    _show_front(directory)
    print(f"\nall trials   {_shown(directory)}/trials.csv, the front in front.csv\nreport       {_shown(page)}")
    if len(result.front):
        best = result.front.sort_values("accuracy")["winner"].iloc[-1]
        _how_to_load(directory / "winners" / f"{best}.yaml")


@app.command()
def ablate(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="name in ablations/, or a YAML file")],
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    run: Annotated[str | None, typer.Option(help="name in results/, or a path; default <table>-<data>")] = None,
    set_: SetOption = None,
) -> None:
    """Train every arm with every seed and print the table. Again with the same run: resumes.

    --set changes any key of the ablation: --set "training.epochs=30 seeds=5".
    """
    from nas.ablation import load_ablation

    chosen = load_ablation(table).with_settings(parse_settings(set_ or []) | ({"data": data} if data else {}))
    _ablate(chosen, _run_directory(run or _run_name(chosen.name, chosen.data)))


@app.command()
def retrain(
    run: Annotated[str, typer.Argument(metavar="RUN", help="name in results/ of a search, or a path")],
    set_: SetOption = None,
) -> None:
    """Train a search's winners from scratch on training and validation images, with several seeds, and test them once.

    A table in results/<run>-retrained, of the base genome and every winner. Again: resumes. --set changes any key of
    that ablation: --set "training.epochs=100 seeds=5".
    """
    from nas.ablation import retraining

    directory = _run_directory(run)
    chosen = retraining(directory).with_settings(parse_settings(set_ or []))
    _ablate(chosen, directory.with_name(chosen.name))


@app.command()
def train(
    genome: GenomeArgument,
    data: Annotated[str, typer.Option(help=DATA_HELP)] = "digits",
    set_: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="directory to write; default results/train-<genome>-<hash>")] = None,
    seed: Annotated[int, typer.Option(help="root of all randomness")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU if there is one")] = None,
) -> None:
    """Train one genome. Again with the same arguments: resumes.

    Keys of --set that begin with `training.` change the training, all others the genome:
    --set "training.epochs=30 stages.1.split=2".
    """
    from pydantic import ValidationError

    from nas.data import check_fits, load
    from nas.errors import from_pydantic
    from nas.genome import load_genome
    from nas.genome.settings import with_settings
    from nas.train import Training, TrainingDiverged, train

    changes = parse_settings(set_ or [])
    recipe = {path: value for path, value in changes.items() if path.split(".")[0] == "training"}
    chosen = _edited(genome, {path: value for path, value in changes.items() if path not in recipe})
    try:
        spec = with_settings({"training": Training().model_dump(mode="json")}, recipe)
        training = Training.model_validate(spec["training"])
    except ValidationError as error:
        raise from_pydantic(error, Training, kind=SpecError, file=SET).within(path="training") from None
    images = load(
        data, size=chosen.image.size, validation=training.validation, seed=seed, limit=training.limit, base=Path.cwd()
    )
    check_fits(images, size=chosen.image.size, channels=chosen.image.channels, classes=chosen.classes, file=genome)
    device = _device(device)
    out = out or Path("results") / f"train-{chosen.name or 'genome'}-{chosen.hash}"
    file = out / "genome.yaml"
    if file.exists() and load_genome(file).hash != chosen.hash:
        raise RunError("another genome was trained here; choose another --out", file=file)
    write_text(file, chosen.to_yaml())

    def show(row: dict[str, Any]) -> None:
        print(
            f"epoch {row['epoch']:>3}/{training.epochs}  loss {row['loss']:.4f}"
            + (f"  accuracy {100 * row['accuracy']:6.2f} %" if "accuracy" in row else "")
            + f"  {row['seconds']:.1f} s",
            flush=True,
        )

    try:
        result = train(chosen, images, training, directory=out, seed=seed, device=device, report=show)
    except KeyboardInterrupt:
        print("\ninterrupted")
        _leave_resumable()
    except TrainingDiverged as error:
        print(f"nas: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    found = f"validation accuracy {100 * result.accuracy:.2f} %" if result.accuracy is not None else "trained"
    print(f"{found} after {result.epochs} epochs, {result.seconds:.0f} s")
    _how_to_load(file)


@app.command()
def cost(
    genome: GenomeArgument,
    set_: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
) -> None:
    """MACs and parameters of the deployed model, per layer, by formula."""
    from nas.cost import cost

    chosen = _edited(genome, parse_settings(set_ or []))
    total = cost(chosen)
    if as_json:
        found = {"name": chosen.name, "hash": chosen.hash, "macs": total.macs, "params": total.params}
        print(json.dumps(found | {"layers": [layer._asdict() for layer in total.layers]}, indent=1))
        return
    from nas.report.genomes import cost_table

    _console().print(cost_table(total))


@app.command()
def diagnose(
    genome: Annotated[
        str, typer.Argument(metavar="GENOME", help="genome YAML file, a run's winner for instance, or preset name")
    ],
    weights: Annotated[Path | None, typer.Option(help="safetensors file; default: the one beside the genome")] = None,
    data: Annotated[str | None, typer.Option(help=f"{DATA_HELP}; default: the run's, or digits")] = None,
    images: Annotated[int, typer.Option(min=1, help="validation images to look at")] = 256,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU if there is one")] = None,
    json_: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="write it as JSON too")] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="write it as CSV too, a row per layer")] = None,
) -> None:
    """The attention of a trained model, layer by layer: how alike layers are, where they look, what LA layers changed.

    A preset without --weights is looked at as it is before training.
    """
    import torch

    from nas.model import build
    from nas.report.diagnosis import diagnosis_table, images_for, write_csv, write_diagnosis
    from nas.train.diagnosis import diagnose

    split = images_for(genome, data, images)
    trained = weights is not None or Path(genome).exists()
    torch.manual_seed(0)
    device = _device(device)
    found = diagnose(build(genome, weights=weights or trained).to(device), split, device=device)
    _console().print(diagnosis_table(found, genome if trained else f"{genome}, untrained"))
    for file, write in ((json_, write_diagnosis), (csv, write_csv)):
        if file is not None:
            write(found, file)
            print(f"written      {_shown(file)}")


@app.command()
def report(run: Annotated[str, typer.Argument(metavar="RUN", help="name in results/, or a path")]) -> None:
    """Tables, figures and one HTML page of a run, from its files alone; also while it is running."""
    from nas.engine.record import read_record
    from nas.report import report
    from nas.report.ablation import write_table

    directory = _run_directory(run)
    if (read_record(directory) or {}).get("kind") == "ablation":
        print(*write_table(directory), sep="\n")
    else:
        print(report(directory))


@app.command()
def export(
    genome: Annotated[str, typer.Argument(metavar="GENOME", help="genome YAML file, a run's winner for instance")],
    to: Annotated[Path, typer.Option(metavar="FILE.pt2", help="where the exported program goes")],
    weights: Annotated[Path | None, typer.Option(help="safetensors file; default: the one beside the genome")] = None,
) -> None:
    """Write a trained model as a torch.export program: the deployed graph, any batch size, no need for this package.

    Load it with torch.export.load("FILE.pt2").module().
    """
    if to.suffix != ".pt2":
        raise SpecError(f"expected a file name that ends in .pt2, found {to.name!r}", path="--to")
    import torch

    from nas.files import write_atomically
    from nas.genome import load_genome
    from nas.model import build, deploy

    image = load_genome(genome).image
    model = deploy(build(genome, weights=weights or True))
    sample_BCHW = torch.zeros(2, image.channels, image.size, image.size)
    program = torch.export.export(model, (sample_BCHW,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    write_atomically(to, lambda path: _save_program(program, path))
    print(f"{to}: float32 images (batch, {image.channels}, {image.size}, {image.size}), normalised, in; logits out")


@app.command()
def presets(
    markdown: Annotated[bool, typer.Option("--markdown", help="the page docs/presets.md")] = False,
) -> None:
    """The genomes that ship with the package."""
    if markdown:
        from nas.report.presets import preset_markdown

        print(preset_markdown(), end="")
        return
    from nas.report.genomes import preset_table

    _console().print(preset_table())


@app.command()
def schema() -> None:
    """The JSON Schema of a genome, for editors that complete and check YAML."""
    from nas.genome import Genome

    print(json.dumps(Genome.model_json_schema(), indent=1))


def main() -> None:
    """Entry point: runs a verb and turns a user's mistake into one message and exit code 2."""
    try:
        app()
    except SpecError as error:
        print(f"nas: {error}", file=sys.stderr)
        sys.exit(2)


def _ablate(chosen: Ablation, directory: Path) -> None:
    from nas.ablation import ablate
    from nas.report.ablation import write_table
    from nas.report.live import Progress

    cells = len(chosen.arms_of(chosen.genome())) * len(chosen.seed_list)
    print(f"ablation {chosen.name} on {chosen.data}: {cells} cells, in {_shown(directory)}", flush=True)
    try:
        with Progress(directory, trials=cells, epochs=chosen.training.epochs, objectives=["accuracy"]) as progress:
            ablate(chosen, directory, on_event=progress)
    except KeyboardInterrupt:
        print("\ninterrupted")
        _leave_resumable()
    files = write_table(directory)
    print(f"\n{(directory / 'table.md').read_text()}")
    print("written      " + ", ".join(_shown(file) for file in files))


def _edited(genome: str, edits: dict[str, Any]) -> Genome:
    from nas.genome import load_genome

    chosen = load_genome(genome)
    try:
        return chosen.edit(edits) if edits else chosen
    except SpecError as error:
        raise error.within(file=SET) from None


def _run_directory(run: str) -> Path:
    """A name means results/<name>; with a slash, or where a run is, it is a path."""
    path = Path(run)
    return path if len(path.parts) > 1 or (path / "run.yaml").exists() else Path("results") / run


def _run_name(spec: str, data: str) -> str:
    return f"{spec}-{data.rstrip('/').replace(':', '/').rpartition('/')[2]}"


def _device(name: str | None) -> str:
    """A device that torch can use. Raises SpecError."""
    import torch

    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise SpecError(f"torch cannot use {name!r}: {str(error).splitlines()[0]}", path="--device") from None
    return name


def _shown(path: Path) -> str:
    """A path as short as it can be written from here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative


def _show_front(directory: Path) -> None:
    from nas.report.run import read_run
    from nas.report.tables import front_table

    run = read_run(directory)
    if len(run.front):
        _console().print()
        _console().print(front_table(run.front, run.layers))
    else:
        print("no trial is complete, so there is no front")


def _leave_resumable() -> NoReturn:
    """After an interruption: how to go on, and exit code 130."""
    print(f"resume with: {shlex.join([_shown(Path(sys.argv[0])), *sys.argv[1:]])}")
    raise typer.Exit(130)


def _how_to_load(genome: Path) -> None:
    print(f"load it      nas.build({_shown(genome)!r}, weights=True)")


def _console() -> Console:
    """Wide enough for tables where the output goes to a file."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)


def _save_program(program: ExportedProgram, path: Path) -> None:
    import torch

    with path.open("wb") as file:  # a file object: torch would insist on a name that ends in .pt2
        torch.export.save(program, file)
