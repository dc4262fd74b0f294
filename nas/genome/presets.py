"""Presets: the genomes of the package, a YAML file each in presets/, whose head quotes the published figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nas.errors import GenomeError, nearest, shown
from nas.genome.schema import Genome
from nas.plugins import lacking

FOLDER = Path(__file__).parent / "presets"
OUTSIDE = ("timm:", "torchvision:", "local-dir:")
EXPORTED = {
    ".pt2": "an exported model, which cannot be read back",
    ".onnx": "an exported model, which cannot be read back",
    ".safetensors": "weights alone",
}


def list_presets() -> list[str]:
    """Names of the presets, for `load_genome` and `build`."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_genome(genome: str | Path | dict[str, Any] | Genome) -> Genome:
    """A genome from a preset's name, a YAML file, or plain data.

    Raises GenomeError with file and key path, and with the plug-in of the file's run if that is not loaded.

    >>> load_genome("lavit_digits").stages[1].split
    2
    """
    if isinstance(genome, Genome):
        return genome
    if isinstance(genome, dict):
        return Genome.parse(genome)
    if isinstance(genome, str) and genome in list_presets():
        return Genome.from_file(FOLDER / f"{genome}.yaml")
    path = Path(genome)
    if (form := _other_form(str(genome))) is not None:
        raise GenomeError(f"{form}; expected a genome: a .yaml file, or a preset's name", file=genome)
    if path.suffix in (".yaml", ".yml") or os.path.exists(path):
        try:
            return Genome.from_file(path)
        except GenomeError as error:
            hint = lacking(path)
            message = f"{error.message}; {hint}" if hint else error.message
            raise GenomeError(message, file=path, path=error.path) from None
    known = nearest(genome, list_presets())
    raise GenomeError(f"no genome file and no preset called {shown(str(genome))}; presets {known}")


def _other_form(name: str) -> str | None:
    """What a model is that is no genome, if that can be told by its name."""
    if name.startswith(OUTSIDE):
        return "a model of timm or torchvision, which this command does not take"
    if os.path.isdir(name):
        return "a folder"
    if (suffix := os.path.splitext(name)[1]) in EXPORTED and os.path.exists(name):
        return EXPORTED[suffix]
    return None
