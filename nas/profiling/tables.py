"""The tables of timings of a run: which genomes are timed, and the files.

    results/<run>/latency.json      batch size 64, if throughput is an objective or a budget
    results/<run>/latency-1.json    batch size 1, if latency is; other sizes likewise

A resumed run uses the tables that it began with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nas.genome import Genome
from nas.profiling.latency import LatencyTable, device_file, known_parts, missing
from nas.profiling.parts import parts

MAX_IDLE_SAMPLES = 200  # samples in a row without a new part, after which all parts count as found
Sample = Callable[[], Genome | None]  # a random genome; None if the values drawn are no valid genome


def covering(base: Genome, sample: Sample) -> Iterator[Genome]:
    """The base, then random genomes that each contain a new part."""
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
    """Tables by batch size: read from the run, or else measured now on genomes from a new `sample()`.

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
    """The file of a run's table for a batch size."""
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
