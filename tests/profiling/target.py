"""Tables of another device, with numbers that are made up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from nas.genome import Genome
from nas.profiling import TargetTable
from nas.profiling.parts import parts
from nas.profiling.target import Checked


def table_of(seconds: Mapping[str, float], counts_GP: np.ndarray | None = None, **given: Any) -> TargetTable:
    """A table with these times; 8×8 grey images and 10 classes, as digits has them."""
    rows = None if counts_GP is None else tuple(tuple(map(int, row)) for row in counts_GP)
    facts: dict[str, Any] = {
        "seconds": dict(seconds),
        "device": "Jetson",
        "threads": 4,
        "batch_size": 1,
        "runtime": "torch" if rows is None else "onnx",
        "versions": {"nas": "0.2.0", "torch": "2.15.0"},
        "image": (1, 8, 8),
        "classes": 10,
        "space": "elsewhere",
        "base": "0123456789ab",
        "checked": (Checked("softmax x 7", 0.010, 0.011), Checked("less x 7", 0.010, 0.008)),
        "models": rows,
    }
    return TargetTable(**facts | given)


def table_for(genomes: Iterable[Genome], **given: Any) -> TargetTable:
    """A millisecond for every part of these genomes."""
    return table_of({key: 0.001 for genome in genomes for key in parts(genome).values()}, **given)
