"""The commands that train: search, convert, retrain, ablate, train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import TRAIN, app
from nas.cli.options import (
    DATA_HELP,
    UNLABELLED_HELP,
    JsonOption,
    PixelsOption,
    PluginOption,
    QuietOption,
    RunArgument,
    SetOption,
    SpaceArgument,
    StartOption,
    TableArgument,
    settings,
)
from nas.cli.output import (
    best_of,
    console,
    failed_if_none,
    how_to_load,
    print_json,
    records,
    resumable,
    show_front,
    show_table,
)
from nas.credentials import masked
from nas.paths import parse_settings


@app.command(rich_help_panel=TRAIN)
def search(
    space: SpaceArgument,
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    trials: Annotated[int | None, typer.Option(help="how many trials the run has in the end")] = None,
    run: Annotated[str | None, typer.Option(help="name in results/, or a path; default <space>-<data>")] = None,
    start: StartOption = None,
    set_: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="say what the space holds and how long it takes; no run is made")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Search a space and print its Pareto front. Again with the same run: resumes, or goes further with more trials.

    --set changes any key of the space: --set "training.epochs=30 budget.macs=2e8".
    """
    from nas.api import preview_search, run_search
    from nas.run_names import directory_for, naming_plugins, relative
    from nas.search import load_space

    with naming_plugins(run):
        chosen = load_space(space).with_settings(settings(set_, data=data, trials=trials, start=start))
    directory = directory_for(chosen, run)
    if dry_run:
        from nas.report.dry_run import dry_run_data, dry_run_table

        silent = quiet or as_json
        preview = preview_search(
            chosen, on_event=None if silent else lambda event: print(masked(event.data["text"]), flush=True)
        )
        if as_json:
            print_json(dry_run_data(preview))
            return
        print()
        console().print(dry_run_table(preview))
        return
    with resumable(front_of=directory, as_json=as_json):
        found = run_search(chosen, directory, progress=not (quiet or as_json))
    best = best_of(directory, found.front)
    if as_json:
        made = {"run": directory, "message": found.message, "report": directory / "report.html", "best": best}
        print_json(made | {"front": records(found.front)})
        failed_if_none(found.front["trial"])
        return
    if found.message:
        print(found.message)
    show_front(directory)
    front = ", the front in front.csv" if best is not None else ""
    print(f"\nall trials   {relative(directory)}/trials.csv{front}")
    print(f"report       {relative(directory)}/report.html")
    if best is not None:
        how_to_load(best)
    failed_if_none(found.front["trial"])


@app.command(rich_help_panel=TRAIN)
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
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Which layers of a trained model may drop softmax attention, and what does it cost? Again: resumes.

    Every candidate of every layer is trained alone, scored, and the best assemblies are repaired. --set changes any key
    of nas/convert/spec.py: --set "training.epochs=5 points=8".
    """
    from nas.api import run_conversion
    from nas.convert.spec import conversion_of
    from nas.report.conversion import assembly_table, sensitivity_table, verdict
    from nas.report.run import read_run
    from nas.run_names import directory_for, relative

    spec = conversion_of(f"{model}@{weights}" if weights else model)
    limits = {f"budget.{name}": limit for name, limit in parse_settings([budget] if budget else []).items()}
    spec = spec.with_settings(settings(set_, data=data) | limits).only(cores.split() if cores is not None else None)
    directory = directory_for(spec, run)
    with resumable(front_of=directory, as_json=as_json):
        found = run_conversion(spec, directory, progress=not (quiet or as_json))
    if as_json:
        tables = {"sensitivity": found.sensitivity, "assemblies": found.assemblies, "front": found.front}
        made = {name: records(table) for name, table in tables.items()}
        print_json({"run": directory, "report": directory / "report.html"} | made)
        return
    words = read_run(directory).worded
    console().print(sensitivity_table(found.sensitivity, words))
    print(*map(words, verdict(found.sensitivity, spec.sweep)), sep="\n")
    print()
    console().print(assembly_table(found.assemblies))
    show_front(directory)
    print(f"\nlayers       {relative(directory)}/sensitivity.csv")
    print(f"report       {relative(directory)}/report.html")
    if len(found.front):
        how_to_load(directory / "winners" / f"{found.front['winner'].iloc[0]}.yaml")


@app.command(rich_help_panel=TRAIN)
def retrain(
    run: RunArgument,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="from new weights, where the search started from a trained model")
    ] = False,
    set_: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Train a search's winners again on training and validation images, with several seeds, and test them once.

    They begin as the trials of the search did: from new weights, or from those of its start. A table in
    results/<run>-retrained, of the base genome and every winner. Again: resumes. --set changes any key of that
    ablation: --set "training.epochs=100 seeds=5".
    """
    from nas.api import retrain_winners

    with resumable(as_json=as_json):
        silent = quiet or as_json
        found = retrain_winners(run, from_scratch=from_scratch, settings=settings(set_), progress=not silent)
    show_table(found, as_json=as_json)


@app.command(rich_help_panel=TRAIN)
def ablate(
    table: TableArgument,
    data: Annotated[str | None, typer.Option(help=DATA_HELP)] = None,
    run: Annotated[str | None, typer.Option(help="name in results/, or a path; default <table>-<data>")] = None,
    start: StartOption = None,
    set_: SetOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Train every arm with every seed and print the table. Again with the same run: resumes.

    --set changes any key of the ablation: --set "training.epochs=30 seeds=5".
    """
    from nas.api import run_ablation

    with resumable(as_json=as_json):
        changes = settings(set_, data=data, start=start)
        found = run_ablation(table, run, settings=changes, progress=not (quiet or as_json))
    show_table(found, as_json=as_json)


@app.command(rich_help_panel=TRAIN)
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
    processes: Annotated[
        int,
        typer.Option(
            min=1, max=4096, help="processes of this machine that train it together, each with one GPU or core"
        ),
    ] = 1,
    max_pixels: PixelsOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
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
        with resumable(as_json=as_json):
            result = train_genome(
                genome,
                data,
                start=start,
                out=out,
                settings=settings(set_),
                seed=seed,
                device=device,
                processes=processes,
                max_pixels=max_pixels or MAX_PIXELS,
                progress=not (quiet or as_json),
            )
    except TrainingDiverged as error:
        print(f"nas: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        made = {"genome": result.file, "accuracy": result.accuracy, "accuracy_se": result.accuracy_se}
        made |= {"epochs": result.epochs, "seconds": result.seconds}
        print_json(made | {"metrics": records(result.metrics)})
        return
    from nas.report.tables import with_error

    accuracy = with_error("accuracy", result.accuracy, result.accuracy_se)
    found = f"validation accuracy {accuracy} %" if result.accuracy is not None else "trained"
    print(f"{found} after {result.epochs} epochs, {result.seconds:.0f} s")
    how_to_load(result.file)
