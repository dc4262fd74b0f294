"""Peak memory of the deployed graph for one image: weights and largest activations (nas/profiling/memory.py)."""

from __future__ import annotations

from nas.genome import Genome
from nas.metrics.base import metric
from nas.profiling.memory import peak_memory as bytes_of


@metric(
    "peak_memory",
    direction="min",
    known="formula",
    heading="memory MB",
    axis="bytes of weights and largest activations, one image (deployed graph)",
    text=lambda value: f"{value / 1e6:,.3g}" if value < 1e8 else f"{value / 1e6:,.0f}",
    whole=True,
    unit="MB",
)
def peak_memory(genome: Genome) -> int:
    return bytes_of(genome)
