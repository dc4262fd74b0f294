"""The line about a genome in a run's tables (nas/genome/describe.py), from the genome's file."""

from __future__ import annotations

from pathlib import Path

from nas.errors import SpecError
from nas.genome import load_genome
from nas.genome.describe import describe


def describe_file(path: Path) -> str:
    """`describe` of a genome file, or a note if it cannot be read: one damaged trial must not prevent a report."""
    try:
        return describe(load_genome(path))
    except SpecError:
        return "genome not readable"
