"""Peak memory of the deployed graph for one image: weights and largest activations (nas/profiling/memory.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.metrics.base import metric

if TYPE_CHECKING:
    from nas.genome import Genome


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
    from nas.profiling.memory import peak_memory as bytes_of  # imports torch, which tables do not need

    return bytes_of(genome)
