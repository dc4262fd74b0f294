"""The device that latency is of, in a run with a table of another device (nas/search/target.py), in tables and words.

Columns, axes and descriptions of latency then name the device, its runtime and the batch: a reader must not take them
for times of the machine that searched, whose throughput stands beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from typing_extensions import TypedDict  # pydantic refuses typing's before Python 3.12

from nas.engine.job import Count
from nas.engine.reading import read_json
from nas.errors import RunError
from nas.keys import Line
from nas.metrics import METRICS, ON_TARGET, TARGET
from nas.paths import found

if TYPE_CHECKING:
    from nas.profiling import TargetTable

RESTORE = "restore it: `nas latency` on the device wrote it"


class Conditions(TypedDict):
    """What a table of another device says besides seconds (nas/profiling/target.py, which needs torch)."""

    device: Line
    runtime: Line
    threads: Count
    batch_size: Count


def conditions_of(run: Path, spec: dict[str, Any]) -> Conditions | None:
    """Those of the run's table; None if there is none. spec: the run's.

    Raises RunError for a damaged table, and where the spec has one that is gone: latency would pass for that of here.
    """
    there = read_json(run / TARGET, Conditions, RESTORE)
    if there is None and any(found(spec, "budget.table")):
        raise RunError(f"the table that the run goes by is gone; {RESTORE}", file=run / TARGET)
    return there


def words(device: str, runtime: str, threads: int, batch_size: int) -> dict[str, str]:
    """What is said of latency on a device, by what is said of it elsewhere.

    >>> words("NVIDIA T4", "onnx", 4, 1)["latency ms"]
    'latency ms (NVIDIA T4)'
    """
    from nas.report.columns import describe_metric

    metric = METRICS[ON_TARGET]
    images = "one image" if batch_size == 1 else f"a batch of {batch_size} images"
    there = f"on {device} ({runtime}, {threads} thread{'s' if threads > 1 else ''})"
    return {
        metric.heading: f"{metric.heading} ({device})",
        metric.axis: f"milliseconds for {images} {there}",
        describe_metric(ON_TARGET): f"Milliseconds for {images} {there}, predicted from {TARGET}; not measured here.",
    }


def target_table(table: TargetTable) -> RenderableType:
    """What `nas latency` prints: the whole models that were timed, beside the sums of their parts."""
    rows = Table(box=None, pad_edge=False)
    for heading in ("measured ms", "predicted ms", "error %"):
        rows.add_column(heading, justify="right", no_wrap=True)
    rows.add_column("layers by stage", overflow="fold")
    for each in table.checked:
        times = (f"{1000 * seconds:,.3f}" for seconds in (each.measured, each.predicted))
        rows.add_row(*times, f"{100 * each.error:+.1f}", each.genome)
    return Group(f"{table.conditions}: {len(table.seconds)} parts; predictions are {table.accuracy}", rows)
