"""Milliseconds per image of the deployed graph at batch size 1: from a table of timings; for winners, measured.

With `budget.table`, milliseconds of one batch on the device of that table, and never measured here.
"""

from __future__ import annotations

from nas.metrics.base import metric


@metric(
    "latency",
    direction="min",
    known="table",
    heading="latency ms",
    axis="milliseconds for one image (deployed graph)",
    text="{:,.2f}".format,
    batch_size=1,
    unit="ms",
)
def latency(seconds: float) -> float:
    return 1000 * seconds
