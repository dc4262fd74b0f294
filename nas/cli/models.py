"""The commands about one model, or the models of a space: cost, show, latency, diagnose, predict, export."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from nas.cli.app import MODEL, app
from nas.cli.options import (
    DATA_HELP,
    GenomeArgument,
    JsonOption,
    PixelsOption,
    PluginOption,
    SetOption,
    SpaceArgument,
    settings,
)
from nas.cli.output import console, print_json
from nas.credentials import masked
from nas.errors import SpecError


@app.command(rich_help_panel=MODEL)
def cost(
    genome: GenomeArgument,
    set_: SetOption = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """MACs and parameters of the deployed model, per layer, by formula."""
    from nas.engine.single import edited
    from nas.profiling import cost

    chosen = edited(genome, settings(set_))
    total = cost(chosen)
    if as_json:
        found = {"name": chosen.name, "hash": chosen.hash, "macs": total.macs, "params": total.params}
        print_json(found | {"layers": [layer._asdict() for layer in total.layers]})
        return
    from nas.report.genomes import cost_table

    console().print(cost_table(total))


@app.command(rich_help_panel=MODEL)
def show(
    genome: GenomeArgument,
    other: Annotated[
        str | None, typer.Argument(metavar="[GENOME]", help="a second one to compare with; --set changes the last")
    ] = None,
    set_: SetOption = None,
    time: Annotated[bool, typer.Option("--time", help="measure the time of each layer too; takes seconds")] = False,
    batch: Annotated[int, typer.Option(min=1, max=1_000_000, help="images in the batch that --time measures")] = 1,
    device: Annotated[str | None, typer.Option(help="of --time: cpu, cuda, cuda:1; default: a GPU if any")] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """A genome as its stack of layers with the cost of each; two of them side by side, with what differs."""
    from nas.device import usable_device
    from nas.engine.single import edited
    from nas.profiling import times_by_layer
    from nas.profiling.stack import stack_data
    from nas.report.stack import differences, stacks

    names = [genome] if other is None else [genome, other]
    genomes = [*(edited(name, {}) for name in names[:-1]), edited(names[-1], settings(set_))]
    times = times_by_layer(genomes, batch_size=batch, device=usable_device(device)) if time else None
    if as_json:
        seconds = times.seconds if times is not None else [None] * len(genomes)
        found: dict[str, Any] = {"genomes": list(map(stack_data, genomes, seconds))}
        if times is not None:
            found["timing"] = times.pace.as_dict()
        if other is not None:
            found["differences"] = [each._asdict() for each in differences(*genomes)]
        print_json(found)
        return
    console().print(stacks(list(zip(names, genomes, strict=True)), times))


@app.command(rich_help_panel=MODEL)
def latency(
    space: SpaceArgument,
    out: Annotated[Path, typer.Option(metavar="FILE.json", help="where the table goes")],
    batch_size: Annotated[int, typer.Option(min=1, max=1_000_000, help="images in a batch")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, max=4096, help="on the CPU; default: as many as torch takes")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda; default: a GPU if any; with onnx, the CPU")] = None,
    runtime: Annotated[Literal["torch", "onnx"], typer.Option(help="what runs the models")] = "torch",
    data: Annotated[str | None, typer.Option(help=f"{DATA_HELP}; default: the space's")] = None,
    image_size: Annotated[
        int | None,
        typer.Option(min=1, max=65_536, help="side of the search's images; the data is then not needed here"),
    ] = None,
    channels: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="likewise: of its images")] = None,
    classes: Annotated[int | None, typer.Option(min=1, max=1_000_000, help="likewise: of its data")] = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Time the parts of a space on this machine, for a search elsewhere with a limit on the latency here.

    The search has `budget: {latency: 4, table: FILE.json}`: at most 4 milliseconds for one batch on this device.
    """
    from nas.api import measure_latency
    from nas.report.target import target_table
    from nas.run_names import relative

    given = {"image.size": image_size, "image.channels": channels, "classes": classes}
    table = measure_latency(
        space,
        out,
        batch_size=batch_size,
        threads=threads,
        device=device,
        runtime=runtime,
        image={key: value for key, value in given.items() if value is not None},
        settings=settings(set_, data=data),
        on_event=None if as_json else lambda event: print(masked(event.data["text"]), flush=True),
    )
    if as_json:
        print_json({"file": out} | asdict(table))
        return
    console().print(target_table(table))
    print(f"written      {relative(out)}; in the space: budget: {{latency: MILLISECONDS, table: {relative(out)}}}")


@app.command(rich_help_panel=MODEL)
def diagnose(
    genome: Annotated[
        str, typer.Argument(metavar="GENOME", help="genome YAML file, a run's winner for instance, or preset name")
    ],
    weights: Annotated[Path | None, typer.Option(help="safetensors file; default: the one beside the genome")] = None,
    data: Annotated[str | None, typer.Option(help=f"{DATA_HELP}; default: the run's, or digits")] = None,
    images: Annotated[int, typer.Option(min=1, max=1_000_000_000, help="validation images to look at")] = 256,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; default: a GPU if there is one")] = None,
    json_: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="write it as JSON too; -: print that, and no table")
    ] = None,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="write it as CSV too, a row per layer")] = None,
    plugin: PluginOption = None,
) -> None:
    """The attention of a trained model, layer by layer: how alike layers are, where they look, what LA layers changed.

    A preset without --weights is looked at as it is before training.
    """
    from nas.api import diagnose
    from nas.files import check_target
    from nas.report.diagnosis import diagnosis_table, write_csv, write_diagnosis
    from nas.run_names import relative

    for option, file in (("--json", json_), ("--csv", csv)):
        if file is not None and str(file) != "-":
            check_target(file, option)
    found = diagnose(genome, weights=weights, data=data, images=images, device=device)
    trained = weights is not None or os.path.exists(genome)
    if str(json_) == "-":
        print_json(found.as_dict())
        json_ = None
    else:
        console().print(diagnosis_table(found, genome if trained else f"{genome}, untrained"))
    for file, write in ((json_, write_diagnosis), (csv, write_csv)):
        if file is not None:
            write(found, file)
            print(f"written      {relative(file)}")


@app.command(rich_help_panel=MODEL)
def predict(
    winner: Annotated[str, typer.Argument(metavar="WINNER", help="genome YAML file with weights beside it")],
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="image files, or folders of them")],
    top: Annotated[int, typer.Option(min=1, max=1_000_000, help="how many classes to name for each image")] = 5,
    as_json: JsonOption = False,
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
        print_json([each.as_dict() for each in found])
    for each in [] if as_json else found:
        print(f"{each.file}: " + ", ".join(f"{name} {100 * share:.1f} %" for name, share in each.top))
    for error in unread:
        print(f"nas: {error}", file=sys.stderr)
    if unread:
        raise typer.Exit(2)


@app.command(rich_help_panel=MODEL)
def export(
    genome: Annotated[str, typer.Argument(metavar="GENOME", help="genome YAML file, a run's winner for instance")],
    to: Annotated[str, typer.Option(metavar="FILE.onnx|FILE.pt2|FOLDER/", help="where the exported model goes")],
    with_preprocess: Annotated[
        bool, typer.Option("--with-preprocess", help="of a file: uint8 images in, probabilities out; resizing is yours")
    ] = False,
    weights: Annotated[Path | None, typer.Option(help="safetensors file; default: the one beside the genome")] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Write a trained model for use elsewhere: ONNX, torch.export, or a folder that timm loads.

    A file has the deployed graph, takes any batch size and does not need this package. What is written is checked
    against the model. ONNX needs the extra of this name: pip install 'nas-vit[onnx]'.
    """
    from nas.api import export

    found = export(genome, to, weights=weights, with_preprocess=with_preprocess)
    if as_json:
        print_json(found._asdict())
        return
    print(f"{found.file}: {found.input}, in; {found.output} out")
    print(f"checked against the model: largest difference {found.difference:.1e} of the largest answer")
