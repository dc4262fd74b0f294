"""The commands that read a run: report, pick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import READ, app
from nas.cli.options import JsonOption, PluginOption, RunArgument, RunsArgument
from nas.cli.output import how_to_load, print_json, resumable
from nas.errors import SpecError
from nas.paths import parse_settings


@app.command(rich_help_panel=READ)
def report(
    runs: RunsArgument,
    out: Annotated[Path | None, typer.Option(help="of a comparison: the page; default comparison.html")] = None,
    live: Annotated[bool, typer.Option("--live", help="write the page every minute until the run ends")] = False,
    figures: Annotated[bool, typer.Option("--figures", help="write figures/*.svg and *.pdf too, for papers")] = False,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """Tables, figures and one HTML page of a run, from its files alone; also while it is running.

    Several runs: one page that compares them, with fronts overlaid, hypervolume at equal compute, and what differs.
    """
    from nas.report import write_reports
    from nas.report.follow import follow
    from nas.run_names import run_directory

    directories = [run_directory(run) for run in runs]
    if live:
        if len(runs) > 1 or out is not None or figures or as_json:
            raise SpecError("--live follows one run, and goes with no other option")
        with resumable():
            for page in follow(directories[0]):
                print(page, flush=True)
        return
    files = write_reports(*directories, out=out, figures=figures)
    if as_json:
        print_json({"files": files})
        return
    print(*files, sep="\n")


@app.command(rich_help_panel=READ)
def pick(
    run: RunArgument,
    limits: Annotated[
        list[str] | None, typer.Argument(metavar="LIMIT...", help="such as macs=900_000 throughput=5_000")
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
) -> None:
    """The best winner of a search or conversion within limits on its costs, and how to load it.

    A limit is at most where less is better, at least where more is; measured values count before predicted ones.
    """
    from nas.api import best_winner
    from nas.run_names import relative

    winner = best_winner(run, **parse_settings(limits or [], file="limits"))
    if as_json:
        print_json({"winner": winner.name, "genome": winner.genome} | winner.values)
        return
    print(winner)
    weights = winner.genome.with_suffix(".safetensors")
    if weights.exists():
        how_to_load(winner.genome)
    else:
        print(f"its weights are not kept: there is no {relative(weights)}")
