"""Throughput of genomes that nobody has built: time per part, taken once per device and alone, then added up.

While a search runs, its workers keep the machine busy and a stopwatch would measure them as well. So before they
start, a few genomes that have all parts of the space between them are run on the quiet device (nas/cost/parts.py).
A prediction is the sum over a genome's parts. Winners are measured alone in the end (nas/search/winners.py).

The device's file (`~/.cache/nas`, as nas/cache.py says) keeps the parts' times in multiples of the time of one model,
the anchor: the base of the first space that was timed. Multiples last, where seconds move with a machine's clock and
its neighbours. Each run takes the anchor's seconds anew, and keeps the table that it went by in its latency.json. The
file is another one for another device, number of threads, torch, or source of the blocks. Delete it to time afresh.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, get_args

import torch

import nas.blocks
import nas.model
from nas.blocks.base import Slot, registered
from nas.cache import alone, cache_file
from nas.cost import throughput
from nas.cost.parts import part_times, parts
from nas.engine.record import hardware
from nas.errors import GenomeError
from nas.files import write_json
from nas.genome import Genome
from nas.model import build
from nas.search.domain import Domain

BATCH = 64
PATIENCE = 200  # genomes drawn in a row without a part that is new, until the space counts as covered


@dataclass(frozen=True)
class LatencyTable:
    """Seconds per part for one batch, on `device` (its name) with so many CPU threads, in float32.

    >>> LatencyTable.measure(domain, seed=0).images_per_second(load_genome("lavit_digits"))
    """

    seconds: dict[str, float]
    device: str
    threads: int
    batch_size: int = BATCH

    def images_per_second(self, genome: Genome) -> float:
        """The prediction. A part that was not met counts as the slowest of its kind."""
        return self.batch_size / sum(self._of(key) for key in parts(genome).values())

    def _of(self, key: str) -> float:
        if key in self.seconds:
            return self.seconds[key]
        kind = key.split(" ", 1)[0]
        return max(value for other, value in self.seconds.items() if other.startswith(kind))

    @classmethod
    def measure(cls, domain: Domain, *, seed: int, device: str = "cpu") -> LatencyTable:
        """The table of a domain; what the device's file does not know is timed. Nothing else may run meanwhile."""
        with alone(device_file(device)):
            known = Timings.read(device)
            anchor = known.anchor or domain.base
            samples: dict[str, list[float]] = defaultdict(list)
            paces = []
            for genome in missing(domain, seed, known):
                times, pace = part_times(genome, anchor, batch_size=BATCH, device=device)
                paces.append(pace)
                for name, key in parts(genome).items():
                    samples[key].append(times[name])
            if not paces:
                paces = [throughput(build(anchor), batch_size=BATCH, device=device).median_seconds]
            new = {key: statistics.median(values) for key, values in samples.items()}
            known = Timings(anchor, new | known.multiples)
            known.write(device)
        pace = statistics.median(paces)
        wanted = {key for genome in covering(domain, seed) for key in parts(genome).values()}
        seconds = {key: pace * known.multiples[key] for key in sorted(wanted)}
        return cls(seconds, _name(device), torch.get_num_threads())

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Timings:
    """What the device's file holds: times of parts in multiples of the anchor's; no anchor where nothing was timed."""

    anchor: Genome | None = None
    multiples: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, device: str) -> Timings:
        try:
            content = json.loads(device_file(device).read_text())
        except (OSError, ValueError):
            return cls()
        return cls(Genome.from_yaml(content["anchor"]), content["multiples"])

    def write(self, device: str) -> None:
        assert self.anchor is not None
        content = {"anchor": self.anchor.to_yaml(), "multiples": self.multiples}
        with contextlib.suppress(OSError):  # the next run times them again
            write_json(device_file(device), _conditions(device) | content)


def device_file(device: str) -> Path:
    """Where the timings of a device are kept, for this number of threads, torch and source."""
    return cache_file(_conditions(device), ".latency.json")


def covering(domain: Domain, seed: int) -> Iterator[Genome]:
    """The base, then random genomes of the domain that each have a part not met before."""
    yield domain.base
    known = set(parts(domain.base).values())
    rng, idle = Random(seed), 0
    while idle < PATIENCE:
        idle += 1
        try:
            genome = domain.genome(domain.draw(rng))
        except GenomeError:
            continue
        new = set(parts(genome).values()) - known
        if new:
            known |= new
            idle = 0
            yield genome


def missing(domain: Domain, seed: int, known: Timings) -> list[Genome]:
    """Those of the covering genomes that have a part whose time is not known."""
    return [genome for genome in covering(domain, seed) if not set(parts(genome).values()) <= set(known.multiples)]


def _conditions(device: str) -> dict[str, Any]:
    """All that a part's time depends on beside its key."""
    shared = {"batch_size": BATCH, "threads": torch.get_num_threads(), "torch": torch.__version__, "source": _source()}
    return {"latency": _name(device), "cores": hardware()["cores"]} | shared


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else hardware()["cpu"]


def _source() -> str:
    """A hash of the code of the models and of all registered blocks."""
    classes = [cls for slot in get_args(Slot) for cls in registered(slot).values()]
    files = {Path(inspect.getfile(cls)) for cls in classes}
    files |= {file for package in (nas.blocks, nas.model) for file in Path(package.__path__[0]).glob("*.py")}
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()[:16]
