"""Presets: genomes that ship with the package, one YAML file each beside this one, their figures in the file's head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.errors import GenomeError, nearest, shown
from nas.genome.schema import Genome
from nas.plugins import lacking

FOLDER = Path(__file__).parent / "presets"


def list_presets() -> list[str]:
    """Names of the shipped genomes, for `load_genome` and `build`."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_genome(source: str | Path | dict[str, Any] | Genome) -> Genome:
    """A genome from a preset's name, a YAML file, or plain data.

    Raises GenomeError with file and key path, and the plug-in that the file's run was begun with, if it is missing.

    >>> load_genome("lavit_digits").stages[1].split
    2
    """
    if isinstance(source, Genome):
        return source
    if isinstance(source, dict):
        return Genome.parse(source)
    if isinstance(source, str) and source in list_presets():
        return Genome.from_file(FOLDER / f"{source}.yaml")
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or path.exists():
        try:
            return Genome.from_file(path)
        except GenomeError as error:
            hint = lacking(path)
            message = f"{error.message}; {hint}" if hint else error.message
            raise GenomeError(message, file=path, path=error.path) from None
    known = nearest(source, list_presets())
    raise GenomeError(f"no genome file and no preset called {shown(str(source))}; presets {known}")
