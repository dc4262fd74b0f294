"""The tables of timings that a run predicts from: which genomes are timed, and where the run keeps the tables.

    results/<run>/latency.json      of batches of 64, if throughput is an objective or a budget
    results/<run>/latency-1.json    of single images, if latency is; and so on

A run goes by the tables that it was begun with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nas.genome import Genome
from nas.profiling.latency import LatencyTable, device_file, known_parts, missing
from nas.profiling.parts import parts

MAX_IDLE_SAMPLES = 200  # samples in a row without a new part, after which all parts count as found
Sample = Callable[[], Genome | None]  # a random genome; None where the values drawn make none


def covering(base: Genome, sample: Sample) -> Iterator[Genome]:
    """The base, then random genomes that each have a part not met before."""
    yield base
    known = set(parts(base).values())
    idle = 0
    while idle < MAX_IDLE_SAMPLES:
        idle += 1
        genome = sample()
        if genome is None:
            continue
        new = set(parts(genome).values()) - known
        if new:
            known |= new
            idle = 0
            yield genome


def run_tables(
    sizes: Iterable[int],
    base: Genome,
    sample: Callable[[], Sample],
    directory: Path,
    *,
    device: str,
    say: Callable[[str], None],
) -> dict[int, LatencyTable]:
    """Tables by batch size: the run's own, or else measured now, on genomes that `sample()` draws afresh.

    Nothing else may run meanwhile. Raises RunError if a table of the run is damaged.
    """
    found = {}
    for size in sizes:
        file = table_file(directory, size)
        if file.exists():
            found[size] = LatencyTable.read(file)
        else:
            found[size] = _measured(list(covering(base, sample())), base, size, device, say)
    return found


def table_file(directory: Path, batch_size: int) -> Path:
    """Where a run keeps its table for a batch size."""
    return directory / ("latency.json" if batch_size == 64 else f"latency-{batch_size}.json")


def _measured(
    genomes: list[Genome], base: Genome, batch_size: int, device: str, say: Callable[[str], None]
) -> LatencyTable:
    models = len(missing(genomes, known_parts(base, device, batch_size)))
    what = "single images" if batch_size == 1 else f"batches of {batch_size}"
    text = f"timing the parts of {models} models in {what}, with nothing else running"
    known = f"timing the base; the parts' times are those in {device_file(base, device, batch_size)}"
    say(text if models else known)
    return LatencyTable.measure(genomes, base, batch_size=batch_size, device=device)
