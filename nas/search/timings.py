"""The tables of timings that a search predicts from: which genomes are timed for a space, and where a run keeps them.

    results/<run>/latency.json      of batches of 64, if throughput is an objective or a budget
    results/<run>/latency-1.json    of single images, if latency is; and so on

A run goes by the tables that it was begun with.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

from nas.engine import Event, OnEvent
from nas.errors import GenomeError
from nas.genome import Genome
from nas.metrics.estimate import batch_sizes
from nas.profiling.latency import LatencyTable, device_file, known_parts, missing
from nas.profiling.parts import parts
from nas.search.space import SearchSpace

PATIENCE = 200  # genomes drawn in a row without a part that is new, until the space counts as covered


def covering(space: SearchSpace, seed: int) -> Iterator[Genome]:
    """The base, then random genomes of the space that each have a part not met before."""
    yield space.base
    known = set(parts(space.base).values())
    rng, idle = Random(seed), 0
    while idle < PATIENCE:
        idle += 1
        try:
            genome = space.genome(space.draw(rng))
        except GenomeError:
            continue
        new = set(parts(genome).values()) - known
        if new:
            known |= new
            idle = 0
            yield genome


def timings(
    metrics: Iterable[str], space: SearchSpace, directory: Path, *, seed: int, device: str, on_event: OnEvent
) -> dict[int, LatencyTable]:
    """The tables that these metrics are predicted from, by batch size: the run's own, or else measured now.

    Nothing else may run meanwhile. Raises RunError if a table of the run is damaged.
    """
    found = {}
    for size in batch_sizes(metrics):
        file = table_file(directory, size)
        found[size] = LatencyTable.read(file) if file.exists() else _measured(space, size, seed, device, on_event)
    return found


def table_file(directory: Path, batch_size: int) -> Path:
    """Where a run keeps its table for a batch size."""
    return directory / ("latency.json" if batch_size == 64 else f"latency-{batch_size}.json")


def _measured(space: SearchSpace, batch_size: int, seed: int, device: str, on_event: OnEvent) -> LatencyTable:
    genomes = list(covering(space, seed))
    models = len(missing(genomes, known_parts(space.base, device, batch_size)))
    what = "single images" if batch_size == 1 else f"batches of {batch_size}"
    text = f"timing the parts of {models} models in {what}, with nothing else running"
    if not models:
        text = f"timing the base; the parts' times are those in {device_file(space.base, device, batch_size)}"
    on_event(Event("message", data={"text": text}))
    return LatencyTable.measure(genomes, space.base, batch_size=batch_size, device=device)
