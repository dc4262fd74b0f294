"""A winner's stack of layers for its winners/<name>.json, so that a report draws it without building the genome.

    "layers": [{"name": "stages.0.layers.1", "what": "less (rank 2)", "macs": 142000, "params": 8514, "ms": 0.21}, …]
    "timing": "batches of 64 on cpu, 1 CPU threads"

ms: by a table of timings that the run goes by, where there is one; `timing` says which. A table of another device comes
first, if its parts were timed one by one (nas/profiling/fit.py determines only their sums).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.genome import Genome
from nas.metrics import TARGET
from nas.profiling import LatencyTable, TargetTable, predicted_by_layer
from nas.profiling.stack import stack_data

DIGITS = 6


def stack_of(genome: Genome, table: LatencyTable | None) -> dict[str, Any]:
    """`layers`, and `timing` if there is a table of timings.

    >>> stack_of(genome, table_of(Path("results/my_run")))["layers"][0]["what"]
    '2×2 patches'
    """
    found = stack_data(genome, predicted_by_layer(genome, table) if table is not None else None)["layers"]
    layers = [{key: layer[key] for key in ("name", "what", "macs", "params")} for layer in found]
    if table is None:
        return {"layers": layers}
    for layer, timed in zip(layers, found, strict=True):
        seconds = timed["seconds"]
        layer["ms"] = None if seconds is None else float(f"{1000 * seconds:.{DIGITS}g}")
    return {"layers": layers, "timing": f"batches of {table.batch_size} on {table.device}, {table.threads} CPU threads"}


def table_of(directory: Path) -> LatencyTable | None:
    """The table by which a run has times of layers. Raises SpecError for a damaged one."""
    file = directory / TARGET
    target = TargetTable.read(file) if file.is_file() else None
    if target is not None and target.runtime == "torch":
        return target
    files = sorted(directory.glob("latency*.json"))
    return LatencyTable.read(files[0]) if files else None
