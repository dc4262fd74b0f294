"""How runs are named: the directory of a name, the name of a run that was given none, and a path as it is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nas.credentials import hidden
from nas.engine.record import read_record
from nas.errors import RunError, SpecError, shown
from nas.files import safe_name, usable_path
from nas.plugins import check

if TYPE_CHECKING:
    from nas.ablation import Ablation
    from nas.convert.spec import ConversionSpec
    from nas.search import SearchSpec


def run_directory(run: str | Path) -> Path:
    """The directory of a run. A directory that was found so is found again.

    >>> run_directory("my_run")
    PosixPath('results/my_run')
    """
    path = usable_path(Path(run))
    if "/" in str(run) or os.path.exists(path / "run.yaml"):
        return path if "/" in str(path) else path.absolute()  # `./run` is no name, and Path drops its slash
    if path.name in ("", ".."):
        raise RunError(f"expected a name, or the path of a run, found {shown(str(run))}", path="--run")
    return Path("results") / path


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


def directory_for(spec: SearchSpec | Ablation | ConversionSpec, run: str | Path | None) -> Path:
    """The full path of a run of the spec, by its default name if it was given none.

    In full, since a plug-in may change the working directory.
    """
    return run_directory(run or default_run(spec)).absolute()


def default_run(spec: SearchSpec | Ablation | ConversionSpec) -> str:
    """The default name of a run, from spec, data and start: `lavit_split-digits`, `mixed-cifar10-from-w1-0007`."""
    begun = f"-from-{_stem(Path(hidden(spec.start)))}" if spec.start is not None else ""
    data = hidden(spec.data).rstrip("/").replace(":", "/").rpartition("/")[2]
    return safe_name(f"{hidden(spec.name)}-{data}{begun}")


def _stem(start: Path) -> str:
    """The name of a start's file, or that of its folder, where every run has a file of this name."""
    return start.parent.name if start.name in ("genome.yaml", "start.yaml", "model.safetensors") else start.stem


def relative(path: Path) -> str:
    """A path relative to the working directory, if it is below it."""
    found = os.path.relpath(path)
    return str(path) if found.startswith("..") else found
