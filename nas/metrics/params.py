"""Parameters of the deployed graph, by formula (nas/profiling/formula.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.metrics.base import metric
from nas.numbers import magnitude

if TYPE_CHECKING:
    from nas.genome import Genome


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
    from nas.profiling import cost  # imports torch, which tables do not need

    return cost(genome).params
