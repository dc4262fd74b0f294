"""The typer application, which every module of commands registers with, and the panels of `nas --help`."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import nas
from nas.credentials import hidden
from nas.errors import SpecError
from nas.signals import by_signal


class Commands(TyperGroup):
    """The commands. What typer says of a wrong command line quotes it, and is said without secrets.

    typer would end a command without a word at a KeyboardInterrupt that a plug-in raises; it is a mistake of that code.
    """

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        with _discreet():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        with _discreet():
            return super().invoke(ctx)


@contextmanager
def _discreet() -> Iterator[None]:
    """Hide secrets in typer's own errors, with all that is between: an argument may have spaces."""
    try:
        yield
    except KeyboardInterrupt as error:
        if by_signal(error):
            raise
        *_, (frame, line) = traceback.walk_tb(error.__traceback__)
        what = f"line {line}: KeyboardInterrupt, raised by this code and by no signal"
        raise SpecError(what, file=frame.f_code.co_filename) from error
    except Exception as error:
        if hasattr(error, "format_message"):
            error.message = hidden(error.message)  # type: ignore[attr-defined]
        raise


app = typer.Typer(
    name="nas",
    cls=Commands,
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
