"""Images per second of the deployed graph at batch size 64: from a table of timings; for winners, measured."""

from __future__ import annotations

from nas.metrics.base import metric

BATCH = 64


@metric(
    "throughput",
    direction="max",
    known="table",
    heading="images/s",
    axis="images per second (deployed graph)",
    text="{:,.0f}".format,
    batch_size=BATCH,
    unit="images/s",
)
def throughput(seconds: float) -> float:
    return BATCH / seconds
