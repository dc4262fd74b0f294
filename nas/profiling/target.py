"""The table of timings of another device, the target: the file that `nas latency` writes there.

It has the seconds of each part (parts.py), the conditions, and some whole models that were timed there as well, so that
everyone can see how far sums of parts are from the stopwatch:

    error = predicted / measured − 1

Two things differ from the tables of a run's own machine. Nothing is guessed: a genome with a part that was not timed is
refused. And it is a file that travels, so all that it says is checked when it is read.

Of parts that were fitted to whole models (fit.py), only some sums are determined: of genomes whose numbers of each part
are a linear combination of the timed models'. The table has these numbers, and other genomes are refused as well.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from nas.errors import GenomeError, SpecError
from nas.files import read_sealed
from nas.genome import Genome
from nas.keys import Line, printable
from nas.profiling.latency import LONGEST, LatencyTable, Size, fault
from nas.profiling.parts import parts

POOR = 30  # per cent of error in the median, above which a table should be measured again
NAMED = 5  # missing parts that a message names
Seconds = Annotated[float, Field(ge=0, le=LONGEST, strict=True)]  # the fit gives 0 to a part that no model needs
Times = Annotated[int, Field(ge=0, le=1_000_000)]
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True)
class Checked:
    """A whole model that was timed on the target. genome: in one line; measured, predicted: seconds of one batch."""

    __pydantic_config__: ClassVar = _STRICT

    genome: Annotated[str, Field(max_length=100_000), AfterValidator(printable)]
    measured: Annotated[float, Field(ge=1e-9, le=LONGEST)]  # what a stopwatch gives
    predicted: Seconds

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


@dataclass(frozen=True)
class TargetTable(LatencyTable):
    """See the head of this file. image: channels, height, width; space, base: what it was measured for.

    >>> TargetTable.read(Path("table.json")).seconds_of(genome)
    """

    __pydantic_config__: ClassVar = _STRICT

    seconds: Annotated[dict[str, Seconds], Field(min_length=1)]
    runtime: Literal["torch", "onnx"]
    versions: dict[Line, Line]
    image: tuple[Size, Size, Size]
    classes: Size
    space: Line
    base: Line  # hash of the base genome
    checked: Annotated[tuple[Checked, ...], Field(min_length=1)]
    models: tuple[tuple[Times, ...], ...] | None  # (G, P) of a fit: how often each timed model has each part
    version: Literal[1] = 1

    def _of(self, key: str) -> float:
        if key not in self.seconds:
            raise GenomeError(f"its latency on {self.device} is not known: the table lacks {described(key)}")
        return self.seconds[key]

    def check(self, genome: Genome) -> None:
        """Raise GenomeError if a part of the genome was not timed, or its sum is not determined."""
        self.seconds_of(genome)
        if not self.determines(genome):
            raise GenomeError(f"its latency on {self.device} is not known: the models timed there do not determine it")

    def determines(self, genome: Genome) -> bool:
        """Whether a genome, all of whose parts are known, has its sum determined by the models of a fit."""
        if self._span is None:
            return True
        counts = Counter(parts(genome).values())
        row_P = np.array([counts[key] for key in self.seconds], dtype=float)
        return bool(np.allclose(self._span.T @ (self._span @ row_P), row_P, atol=1e-6))

    @cached_property
    def _span(self) -> np.ndarray | None:
        """(R, P) orthonormal rows that span the models of a fit."""
        if self.models is None:
            return None
        _, sizes_R, rows_RP = np.linalg.svd(np.array(self.models, dtype=float), full_matrices=False)
        return np.asarray(rows_RP[sizes_R > 1e-9 * sizes_R[0]])

    def lacking(self, genomes: Iterable[Genome]) -> list[str]:
        """The parts of these genomes that were not timed, in words, each once."""
        found = {key: described(key) for genome in genomes for key in parts(genome).values()}
        return list(dict.fromkeys(text for key, text in found.items() if key not in self.seconds))

    @property
    def conditions(self) -> str:
        """`NVIDIA T4, onnx, 4 threads, batches of 1`"""
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.device}, {self.runtime}, {threads}, batches of {self.batch_size}"

    @property
    def accuracy(self) -> str:
        """How far predictions are from the stopwatch, in words."""
        errors = [abs(each.error) for each in self.checked]
        middle, worst = 100 * statistics.median(errors), 100 * max(errors)
        models = "1 whole model" if len(errors) == 1 else f"{len(errors)} whole models"
        again = "; measure again on a quiet machine" if middle > POOR else ""
        return f"off by {middle:.1f} % in the median of {models}, {worst:.1f} % at most{again}"

    @classmethod
    def read(cls, path: Path) -> TargetTable:
        """Raises SpecError, with the key path, if the file is no such table."""
        try:
            table = read_sealed(path, TypeAdapter(cls).validate_python)
            if table.models is not None and {len(row) for row in table.models} != {len(table.seconds)}:
                what, where = "expected rows with a number for each part of `seconds`", "models"
            elif not any(table.seconds.values()):
                what, where = "no part takes any time", "seconds"
            else:
                return table
        except (OSError, ValueError) as error:
            what, where = fault(error)
        hint = "`nas latency SPACE --out FILE` on the device writes one"
        raise SpecError(f"not a table of another device: {what}; {hint}", file=path, path=where)


def described(key: str) -> str:
    """A part in words, by its key.

    >>> described(parts(load_genome("mixed_digits"))["stages.0.layers.0"])
    'a layer of softmax, 4×4 tokens of width 32, 2 heads'
    """
    kind, text = key.split(" ", 1)
    plan: dict[str, Any] = json.loads(text)
    if kind == "layer":
        (height, width), channels, heads, *_ = plan["site"]
        blocks = [plan[slot]["block"] for slot in ("core", "local") if plan.get(slot)]
        return f"a layer of {' and '.join(blocks)}, {height}×{width} tokens of width {channels}, {heads} heads"
    if kind == "stage":
        height, width = plan["grid"]
        return f"a stage around its layers, {height}×{width} tokens of width {plan['width']}"
    return f"a head of width {plan['width']} for {plan['classes']} classes"
