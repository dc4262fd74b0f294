"""Parameters of the deployed graph, by formula (nas/profiling/formula.py)."""

from __future__ import annotations

from nas.genome import Genome
from nas.metrics.base import metric
from nas.numbers import magnitude
from nas.profiling import cost


@metric(
    "params",
    direction="min",
    known="formula",
    heading="params",
    axis="parameters (deployed graph)",
    text=magnitude,
    whole=True,
    unit="params",
)
def params(genome: Genome) -> int:
    return cost(genome).params
