"""What there is to choose from, with a line about each: spaces, ablations, presets, blocks.

A space or a preset is described by the first sentence of the comment that heads its file, an ablation by its claim, a
block by the first line of its module.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from rich.table import Table

from nas.blocks.base import BLOCKS
from nas.errors import SpecError
from nas.files import regular
from nas.genome import list_presets, load_genome
from nas.genome.describe import describe
from nas.genome.presets import FOLDER
from nas.numbers import magnitude
from nas.plain_yaml import read_yaml
from nas.profiling import cost
from nas.shipped import ABLATIONS, SPACES

Entry = dict[str, Any]
_SENTENCE = re.compile(r"(.*?[.?!])(?:\s|$)", re.DOTALL)


def spaces() -> list[Entry]:
    """Name, what it asks, and file of each space in ./search_spaces and in the package."""
    return [{"name": name, "about": _about(file), "file": file} for name, file in SPACES.files.items()]


def ablations() -> list[Entry]:
    """Name, claim and file of each ablation in ./ablations and in the package."""
    return [{"name": name, "about": _claim(file), "file": file} for name, file in ABLATIONS.files.items()]


def presets() -> list[Entry]:
    """Name, image, cost and layers of each preset, and what it is."""
    found = []
    for name in list_presets():
        genome, total = load_genome(name), cost(name)
        size = f"{genome.image.size}×{genome.image.size}×{genome.image.channels}"
        costs = {"macs": total.macs, "params": total.params}
        found.append({"name": name, "image": size, **costs, "layers": describe(genome)})
    return [{**entry, "about": headline(FOLDER / f"{entry['name']}.yaml")} for entry in found]


def blocks() -> list[Entry]:
    """Slot, name and one line about each block, plug-ins included."""
    return [
        {"name": name, "slot": slot, "about": _first_line(sys.modules[block.__module__].__doc__)}
        for slot, registry in BLOCKS.items()
        for name, block in registry.items()
    ]


def _about(space: Path) -> str:
    try:
        return headline(space)
    except OSError as error:
        return f"not readable: {error.strerror}"


def headline(file: Path) -> str:
    """The first sentence of the comment at the head of a YAML file; empty without one."""
    with regular(file).open(encoding="utf-8", errors="replace") as opened:
        comment = [*takewhile(lambda line: line.startswith("#"), opened)]
    written = [line for line in comment if not line.startswith("# yaml-language-server:")]  # nas init
    text = " ".join(line.strip().lstrip("# ") for line in written)
    found = _SENTENCE.match(text)
    return found[1] if found else text


def catalogue(entries: Sequence[Entry], columns: Sequence[str]) -> Table:
    """A row for each entry, for the terminal."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        numbers = column in ("macs", "params")
        table.add_column(
            {"macs": "MACs", "layers": "layers by stage", "about": ""}.get(column, column),
            justify="right" if numbers else "left",
            no_wrap=column not in ("about", "layers"),
        )
    for entry in entries:
        table.add_row(*(magnitude(entry[c]) if c in ("macs", "params") else entry[c] for c in columns))
    return table


def _claim(file: Path) -> str:
    try:
        data = read_yaml(file)
    except SpecError as error:
        return f"not readable: {error.message}"
    claim = data.get("claim") if isinstance(data, dict) else None
    return str(claim) if claim else headline(file)


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
