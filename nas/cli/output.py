"""What commands print: tables, JSON, how to load a model, how to resume."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from nas.environment import typed_command
from nas.errors import SpecError
from nas.plugins import blamed
from nas.signals import by_signal

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from nas.api import AblationResult

INTERRUPTED = 130  # exit code of a command; `main` replaces it by the signal's


class Aside(io.TextIOBase):
    """sys.stdout of a command that answers in JSON: all but the document goes to stderr, such as a plug-in's words."""

    def __init__(self, document: TextIO):
        self.document = document

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def keep_for_json(wanted: bool) -> bool:
    """The callback of --json: stdout is kept for the document until the end of `main`.

    In a process of its own that is so for libraries in C as well, some of which print (HiGHS) when the process ends.
    """
    document: TextIO | None = sys.stdout  # None where the shell has closed it
    if wanted and document is not None and not isinstance(document, Aside):
        if document is sys.__stdout__:
            document = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding)
            os.dup2(2, 1)
        sys.stdout = Aside(document)
    return wanted


@contextmanager
def resumable(*, front_of: Path | None = None, as_json: bool = False) -> Iterator[None]:
    """On Ctrl-C or another termination signal, print the front so far of a search and the command to resume.

    as_json: the command's result would have been JSON; stdout then stays empty. Raises SpecError for a
    KeyboardInterrupt that the code of a plug-in has raised by itself.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if not by_signal(error) and (told := blamed(error)) is not None:
            raise told from error
        out = sys.stderr if as_json else sys.stdout
        print("\ninterrupted", file=out)
        if front_of is not None and (front_of / "run.yaml").exists() and not as_json:
            try:
                show_front(front_of)
            except SpecError as mistake:  # a damaged file: how to go on is said all the same
                print(f"the front cannot be shown: {mistake}", file=out)
        print(f"resume with: {typed_command()}", file=out)
        raise typer.Exit(INTERRUPTED) from None


def show_front(directory: Path) -> None:
    from nas.report.run import read_run
    from nas.report.tables import front_table

    run = read_run(directory)
    if len(run.front):
        console().print()
        console().print(front_table(run.front, run.layers, run.worded))
        for sentence in [*run.on_test, *([run.gain] if run.gain else [])]:
            print(sentence)
        if run.meaning is not None:
            print(f"the images have no labels: accuracy is {run.meaning}, on validation and on test images")
    else:
        print("no trial is complete, so there is no front")


def show_table(found: AblationResult, *, as_json: bool) -> None:
    from nas.run_names import relative

    if as_json:
        print_json({"run": found.directory, "files": found.files, "cells": records(found.cells)})
    else:
        print(f"\n{(found.directory / 'table.md').read_text()}")
        print("written      " + ", ".join(relative(file) for file in found.files))
    failed_if_none(found.cells.loc[found.cells["state"] == "complete", "state"])


def failed_if_none(complete: pd.Series[Any]) -> None:
    """Exit code 1 where no trial is complete: a script should not go on as if there were a result."""
    if not len(complete):
        raise typer.Exit(1)


def how_to_load(genome: Path) -> None:
    from nas.run_names import relative

    print(f"load it      nas.build({relative(genome)!r}, weights=True)")


def best_of(directory: Path, front: pd.DataFrame) -> Path | None:
    """The genome file of the winner of highest accuracy."""
    if not len(front):
        return None
    return directory / "winners" / f"{front.sort_values('accuracy')['winner'].iloc[-1]}.yaml"


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table for JSON, which has null for what is missing."""
    filled = table.astype(object).where(table.notna(), None)
    return [{str(column): value for column, value in row.items()} for row in filled.to_dict("records")]


def print_json(found: Any) -> None:
    """Print plain data as JSON; paths as in sentences, relative to the working directory."""
    from nas.run_names import relative

    print(json.dumps(found, indent=1, default=relative), file=getattr(sys.stdout, "document", sys.stdout))


def console() -> Console:
    """A console, wide enough for tables if the output is a file."""
    from rich.console import Console

    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=140)
