"""The typer application, which every module of commands registers with, and the panels of `nas --help`."""

from __future__ import annotations

from typing import Annotated

import typer

import nas

app = typer.Typer(
    name="nas",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
TRAIN, READ, MODEL, LIST = PANELS = "Train and search", "Read a run", "One model", "What there is"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"nas {nas.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None:
    """Search and compare Vision Transformer architectures under MACs and throughput budgets."""
