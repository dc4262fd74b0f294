"""Time of a genome by layer, for people: each row of its stack in seconds, of one genome or of several in turns.

Parts are timed inside the running deployed model (nas/profiling/parts.py), the genomes in turns with the first one, in
multiples of its time; what a multiple is in seconds is measured once, at the end. It takes some seconds a genome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.genome import Genome
from nas.model import build
from nas.profiling.latency import LatencyTable
from nas.profiling.parts import part_times, parts
from nas.profiling.stopwatch import Throughput, throughput


@dataclass(frozen=True)
class TimesByLayer:
    """`seconds[i]` has the seconds of one batch for the i-th genome, by the name of the row (nas.cost(genome).layers).

    A stage's attention residual counts with its `embed`. pace: of the first genome, with the conditions.
    """

    seconds: list[dict[str, float]]
    pace: Throughput


def times_by_layer(genomes: Sequence[Genome], *, batch_size: int, device: str) -> TimesByLayer:
    """Time the genomes. Nothing else should run meanwhile; `disturbance([times.pace])` says if something did.

    >>> times_by_layer([load_genome("lavit_digits")], batch_size=1, device="cpu").seconds[0]["stages.0.layers.0"]
    """
    first = genomes[0]
    multiples = [part_times(genome, first, batch_size=batch_size, device=device) for genome in genomes]
    pace = throughput(build(first), batch_size=batch_size, device=device)
    return TimesByLayer(
        [{_row(name): pace.median_seconds * value for name, value in found.items()} for found in multiples], pace
    )


def predicted_by_layer(genome: Genome, table: LatencyTable) -> dict[str, float]:
    """The seconds that a table of timings has for each row, for one batch; rows that were not timed are left out.

    >>> predicted_by_layer(genome, LatencyTable.read(Path("results/my_run/latency-1.json")))["head"]
    """
    return {_row(part): table.seconds_of_part(genome, part) for part in parts(genome) if table.knows(genome, part)}


def _row(part: str) -> str:
    """`head` of the model without its stages, `stages.0.embed` of a stage without its layers."""
    return part if ".layers." in part else f"{part}.embed" if part else "head"
