"""The commands of `nas`. Each parses its arguments, calls one function of the Python API (nas/api.py), and prints.

Exit codes: 0 success, 1 a bug (with its traceback), 2 a user error (one message, nothing written), 130 interrupted by
Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. Imports are inside the commands, so that `nas --help` is instant and `nas cost`
does not wait for Ray.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.environment import command_line, typed_command
from nas.errors import SpecError
from nas.paths import parse_settings
from nas.signals import interruptible

if TYPE_CHECKING:
    from rich.console import Console

    from nas.api import AblationResult

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
INTERRUPTED = 130  # exit code of a command; `main` replaces it by the signal's
OUTSIDE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR)
DATA_HELP = "digits, cifar10, ..., imagefolder:PATH or parquet:PATH"
UNLABELLED_HELP = f"{DATA_HELP}; images:PATH for images without labels"


def _load_plugins(names: list[str] | None) -> list[str]:
    from nas.plugins import load_plugins

    load_plugins(names or [])
    return names or []


PluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="FILE.py|MODULE",
        help="blocks, metrics, samplers, schedulers or data sources of your own; repeatable",
        callback=_load_plugins,
        is_eager=True,
    ),
]
StartOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="begin with a trained model's weights: a genome file beside its weights, timm:NAME@FILE, local-dir:FOLDER",
    ),
]
PixelsOption = Annotated[
    int | None, typer.Option(min=1, help="an image with more is refused and not decoded; default 89,478,485")
]
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
    start: StartOption = None,
    set_: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what the space holds and how long it takes; no run is made")
    ] = False,
    plugin: PluginOption = None,
) -> None:
    """Search a space and print its Pareto front. Again with the same run: resumes, or goes further with more trials.

    --set changes any key of the space: --set "training.epochs=30 budget.macs=2e8".
    """
    from nas.api import default_run, naming_plugins, preview_search, run_search, shown
    from nas.engine.record import run_directory
    from nas.search import load_space

    with naming_plugins(run):
        chosen = load_space(space).with_settings(_settings(set_, data=data, trials=trials, start=start))
    directory = run_directory(run or default_run(chosen))
    if dry_run:
        from nas.report.dry_run import dry_run_table

        preview = preview_search(chosen, on_event=lambda event: print(event.data["text"], flush=True))
        print()
        _console().print(dry_run_table(preview))
        return
    with _resumable(front_of=directory):
        found = run_search(chosen, directory)
    if found.message:
        print(found.message)
    _show_front(directory)
    print(f"\nall trials   {shown(directory)}/trials.csv, the front in front.csv")
    print(f"report       {shown(directory)}/report.html")
    if len(found.front):
        best = found.front.sort_values("accuracy")["winner"].iloc[-1]
        _how_to_load(directory / "winners" / f"{best}.yaml")


@app.command()
def convert(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="a genome file with its weights beside it, timm:NAME@FILE, local-dir:FOLDER, or a conversion as YAML",
        ),
    ],
    data: Annotated[str | None, typer.Option(help=UNLABELLED_HELP)] = None,
    weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="of MODEL, where they are not beside it; also timm:NAME's")
    ] = None,
    cores: Annotated[
        str | None, typer.Option(metavar="NAMES", help='of the candidates, such as "reuse linear"; default: all')
    ] = None,
    budget: Annotated[
        str | None, typer.Option(metavar="LIMITS", help='hard limits, such as "macs=0.8x latency=5"')
    ] = None,
    run: Annotated[str | None, typer.Option(help="name in results/, or a path; default convert-<data>-...")] = None,
    set_: SetOption = None,
    plugin: PluginOption = None,
) -> None:
    """Which layers of a trained model may drop softmax attention, and what does it cost? Again: resumes.

    Every candidate of every layer is trained alone, scored, and the best assemblies are repaired. --set changes any key
    of nas/convert/spec.py: --set "training.epochs=5 points=8".
    """
    from nas.api import default_run, run_conversion, shown
    from nas.convert.spec import conversion_of
    from nas.engine.record import run_directory
    from nas.report.conversion import assembly_table, sensitivity_table, verdict
    from nas.report.run import read_run

    spec = conversion_of(f"{model}@{weights}" if weights else model)
    limits = {f"budget.{name}": limit for name, limit in parse_settings([budget] if budget else []).items()}
    spec = spec.with_settings(_settings(set_, data=data) | limits).only(cores.split() if cores else None)
    directory = run_directory(run or default_run(spec))
    with _resumable(front_of=directory):
        found = run_conversion(spec, directory)
    words = read_run(directory).worded
    _console().print(sensitivity_table(found.sensitivity, words))
    print(*map(words, verdict(found.sensitivity)), sep="\n")
    print()
    _console().print(assembly_table(found.assemblies))
    _show_front(directory)
    print(f"\nlayers       {shown(directory)}/sensitivity.csv")
    print(f"report       {shown(directory)}/report.html")
    if len(found.front):
        _how_to_load(directory / "winners" / f"{found.front['winner'].iloc[0]}.yaml")


@app.command()
def ablate(
    table: Annotated[str, typer.Argument(metavar="TABLE", help="name in ablations/, or a YAML file")],
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    run: Annotated[str | None, typer.Option(help="name in results/, or a path; default <table>-<data>")] = None,
    start: StartOption = None,
    set_: SetOption = None,
    plugin: PluginOption = None,
) -> None:
    """Train every arm with every seed and print the table. Again with the same run: resumes.

    --set changes any key of the ablation: --set "training.epochs=30 seeds=5".
    """
    from nas.api import run_ablation

    with _resumable():
        found = run_ablation(table, run, settings=_settings(set_, data=data, start=start))
    _show_table(found)


@app.command()
def retrain(
    run: Annotated[str, typer.Argument(metavar="RUN", help="name in results/ of a search, or a path")],
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="from new weights, where the search started from a trained model")
    ] = False,
    set_: SetOption = None,
    plugin: PluginOption = None,
) -> None:
    """Train a search's winners again on training and validation images, with several seeds, and test them once.

    They begin as the trials of the search did: from new weights, or from those of its start. A table in
    results/<run>-retrained, of the base genome and every winner. Again: resumes. --set changes any key of that
    ablation: --set "training.epochs=100 seeds=5".
    """
    from nas.api import retrain_winners

    with _resumable():
        found = retrain_winners(run, from_scratch=from_scratch, settings=_settings(set_))
    _show_table(found)


@app.command()
def train(
    genome: Annotated[
        str | None,
        typer.Argument(metavar="[GENOME]", help="preset name or genome YAML file; left out, that of --start"),
    ] = None,
    data: Annotated[str, typer.Option(help=DATA_HELP)] = "digits",
    start: StartOption = None,
    set_: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="directory to write; default results/train-<genome>-<hash>")] = None,
    seed: Annotated[int, typer.Option(help="root of all randomness")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU if there is one")] = None,
    max_pixels: PixelsOption = None,
    plugin: PluginOption = None,
) -> None:
    """Train one genome, from new weights or from those of a trained model. Again with the same arguments: resumes.

    Keys of --set that begin with `training.` change the training, all others the genome:
    --set "training.epochs=30 stages.1.split=2".
    """
    from nas.api import train_genome
    from nas.data import MAX_PIXELS
    from nas.train import TrainingDiverged

    try:
        with _resumable():
            result = train_genome(
                genome,
                data,
                start=start,
                out=out,
                settings=_settings(set_),
                seed=seed,
                device=device,
                max_pixels=max_pixels or MAX_PIXELS,
            )
    except TrainingDiverged as error:
        print(f"nas: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    found = f"validation accuracy {100 * result.accuracy:.2f} %" if result.accuracy is not None else "trained"
    print(f"{found} after {result.epochs} epochs, {result.seconds:.0f} s")
    _how_to_load(result.file)


@app.command()
def cost(
    genome: GenomeArgument,
    set_: SetOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
    plugin: PluginOption = None,
) -> None:
    """MACs and parameters of the deployed model, per layer, by formula."""
    from nas.engine.single import edited
    from nas.profiling import cost

    chosen = edited(genome, _settings(set_))
    total = cost(chosen)
    if as_json:
        found = {"name": chosen.name, "hash": chosen.hash, "macs": total.macs, "params": total.params}
        print(json.dumps(found | {"layers": [layer._asdict() for layer in total.layers]}, indent=1))
        return
    from nas.report.genomes import cost_table

    _console().print(cost_table(total))


@app.command()
def data(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=UNLABELLED_HELP)],
    size: Annotated[
        int | None, typer.Option(min=1, help="side to which images are brought; default: their own")
    ] = None,
    seed: Annotated[int, typer.Option(help="of the validation split and of training.limit")] = 0,
    set_: SetOption = None,
    sheet: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="draw training images, as they are and as augmented")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
    plugin: PluginOption = None,
) -> None:
    """What a dataset holds, how it is split, and what was left out; nothing is trained.

    --set changes the recipe: --set "training.validation=0.1 training.augment.min_area=0.3".
    """
    from nas.account import terminal_lines
    from nas.api import describe_data, shown

    found = describe_data(source, size=size, settings=_settings(set_), seed=seed, sheet=sheet)
    print(json.dumps(found, indent=1) if as_json else "\n".join(terminal_lines(found)))
    if sheet is not None and not as_json:
        print(f"written      {shown(sheet)}")


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
    plugin: PluginOption = None,
) -> None:
    """The attention of a trained model, layer by layer: how alike layers are, where they look, what LA layers changed.

    A preset without --weights is looked at as it is before training.
    """
    from nas.api import diagnose, shown
    from nas.report.diagnosis import diagnosis_table, write_csv, write_diagnosis

    found = diagnose(genome, weights=weights, data=data, images=images, device=device)
    trained = weights is not None or os.path.exists(genome)
    _console().print(diagnosis_table(found, genome if trained else f"{genome}, untrained"))
    for file, write in ((json_, write_diagnosis), (csv, write_csv)):
        if file is not None:
            write(found, file)
            print(f"written      {shown(file)}")


@app.command()
def predict(
    winner: Annotated[str, typer.Argument(metavar="WINNER", help="genome YAML file with weights beside it")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="image files, or folders of them")],
    top: Annotated[int, typer.Option(min=1, help="how many classes to name for each image")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable")] = False,
    weights: Annotated[Path | None, typer.Option(help="safetensors file; default: the one beside the genome")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU if there is one")] = None,
    max_pixels: PixelsOption = None,
    plugin: PluginOption = None,
) -> None:
    """The most probable classes of images. An image that cannot be read is one message, and the exit code is then 2."""
    from nas.data.encoded import MAX_PIXELS
    from nas.serve import predict

    unread: list[SpecError] = []
    found = predict(
        winner,
        images,
        weights=weights,
        top=top,
        device=device,
        max_pixels=max_pixels or MAX_PIXELS,
        on_error=unread.append,
    )
    if as_json:
        print(json.dumps([each.as_dict() for each in found], indent=1))
    for each in [] if as_json else found:
        print(f"{each.file}: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in each.top))
    for error in unread:
        print(f"nas: {error}", file=sys.stderr)
    if unread:
        raise typer.Exit(2)


@app.command()
def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="name in results/, or a path")],
    plugin: PluginOption = None,
) -> None:
    """Tables, figures and one HTML page of a run, from its files alone; also while it is running."""
    from nas.engine.record import run_directory
    from nas.report import write_reports

    print(*write_reports(run_directory(run)), sep="\n")


@app.command()
def export(
    genome: Annotated[str, typer.Argument(metavar="GENOME", help="genome YAML file, a run's winner for instance")],
    to: Annotated[str, typer.Option(metavar="FILE.onnx|FILE.pt2|FOLDER/", help="where the exported model goes")],
    with_preprocess: Annotated[
        bool, typer.Option("--with-preprocess", help="of a file: uint8 images in, probabilities out; resizing is yours")
    ] = False,
    weights: Annotated[Path | None, typer.Option(help="safetensors file; default: the one beside the genome")] = None,
    plugin: PluginOption = None,
) -> None:
    """Write a trained model for use elsewhere: ONNX, torch.export, or a folder that timm loads.

    A file has the deployed graph, takes any batch size and does not need this package. What is written is checked
    against the model. ONNX needs the extra of this name: pip install 'nas-vit[onnx]'.
    """
    from nas.api import export

    found = export(genome, to, weights=weights, with_preprocess=with_preprocess)
    print(f"{found.file}: {found.input}, in; {found.output} out")
    print(f"checked against the model: largest difference {found.difference:.1e} of the largest answer")


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
    """Entry point: runs a command, reports a user error as one message, and a signal by its exit code."""
    command_line()
    with interruptible() as interruption:
        try:
            app()
        except SpecError as error:
            print(f"nas: {error}", file=sys.stderr)
            sys.exit(2)
        except OSError as error:
            if error.errno not in OUTSIDE:
                raise
            print(f"nas: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
            sys.exit(2)
        except KeyboardInterrupt:
            sys.exit(interruption.code)
        except SystemExit as left:
            sys.exit(interruption.code if left.code == INTERRUPTED else left.code)


def _settings(texts: list[str] | None, **given: Any) -> dict[str, Any]:
    """The settings from --set and from options that set a key."""
    return parse_settings(texts or []) | {key: value for key, value in given.items() if value is not None}


@contextmanager
def _resumable(*, front_of: Path | None = None) -> Iterator[None]:
    """On Ctrl-C or another termination signal, print the front so far of a search and the command to resume."""
    try:
        yield
    except KeyboardInterrupt:
        print("\ninterrupted")
        if front_of is not None and (front_of / "run.yaml").exists():
            _show_front(front_of)
        print(f"resume with: {typed_command()}")
        raise typer.Exit(INTERRUPTED) from None


def _show_front(directory: Path) -> None:
    from nas.report.run import read_run
    from nas.report.tables import front_table

    run = read_run(directory)
    if len(run.front):
        _console().print()
        _console().print(front_table(run.front, run.layers, run.worded))
        for sentence in [*run.on_test, *([run.gain] if run.gain else [])]:
            print(sentence)
        if run.meaning is not None:
            print(f"the images have no labels: accuracy is {run.meaning}, on validation and on test images")
    else:
        print("no trial is complete, so there is no front")


def _show_table(found: AblationResult) -> None:
    from nas.api import shown

    print(f"\n{(found.directory / 'table.md').read_text()}")
    print("written      " + ", ".join(shown(file) for file in found.files))


def _how_to_load(genome: Path) -> None:
    from nas.api import shown

    print(f"load it      nas.build({shown(genome)!r}, weights=True)")


def _console() -> Console:
    """A console, wide enough for tables if the output is a file."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=140)
