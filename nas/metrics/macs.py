"""Multiply-accumulates of one image in the deployed graph, by formula (nas/profiling/formula.py)."""

from __future__ import annotations

from nas.genome import Genome
from nas.metrics.base import metric
from nas.numbers import magnitude
from nas.profiling import cost


@metric(
    "macs",
    direction="min",
    known="formula",
    heading="MACs",
    axis="MACs per image (deployed graph)",
    text=magnitude,
    whole=True,
    unit="MACs",
)
def macs(genome: Genome) -> int:
    return cost(genome).macs
