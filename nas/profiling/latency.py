"""Throughput prediction: the time of each part, measured once per device, added up over the parts of a genome.

During a search the workers load the machine, which would distort measurements. A few genomes that together contain all
parts of the space are therefore timed before the workers start (see parts.py), with one table per batch size.

The times are kept in a file per device (nas/cache.py), in multiples of the base genome's time. Multiples are stable;
seconds vary with clock frequency and load. Each run therefore times the base again, and keeps its table in seconds in
its directory. There is a separate file for each base, batch size, device, number of threads, torch version and version
of the code that is timed. It is not written while the machine is busy. Delete it to time again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_args

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from nas.blocks.base import Slot, registered
from nas.cache import cache_file, locked
from nas.errors import RunError, wording
from nas.files import parse_json, read_sealed, regular, write_json, write_sealed
from nas.genome import Genome
from nas.hardware import hardware
from nas.keys import Line
from nas.model import build
from nas.profiling.parts import part_times, parts, without_timeless
from nas.profiling.stopwatch import throughput

KINDS = {"head", "stage", "layer"}  # first words of keys; each genome has all (nas/profiling/parts.py)
LONGEST = 1e6  # seconds: twelve days for a batch; sums and quotients of such numbers stay numbers
Timed = Annotated[float, Field(ge=1e-15, le=LONGEST, allow_inf_nan=False)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
TIMED_PACKAGES = ("blocks", "genome", "model", "profiling")  # their code determines what is timed, and how


@dataclass(frozen=True)
class LatencyTable:
    """Seconds per part for one batch in float32, on the device called `device`, with `threads` CPU threads.

    >>> LatencyTable.measure([genome], base=genome, batch_size=64).seconds_of(genome)
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    seconds: Annotated[dict[str, Timed], Field(min_length=1)]
    device: Line
    threads: Size
    batch_size: Size

    def seconds_of(self, genome: Genome) -> float:
        """The predicted seconds of one batch. An unknown part counts as the slowest known part of its kind."""
        return sum(self._of(key) for key in parts(genome).values())

    def knows(self, genome: Genome, name: str) -> bool:
        """Whether that part was timed, by its module's name."""
        return parts(genome)[name] in self.seconds

    def seconds_of_part(self, genome: Genome, name: str) -> float:
        """Those of one part, by its module's name."""
        return self._of(parts(genome)[name])

    def _of(self, key: str) -> float:
        if key in self.seconds:
            return self.seconds[key]
        kind = key.split(" ", 1)[0]
        return max(value for other, value in self.seconds.items() if other.startswith(kind))

    @classmethod
    def measure(
        cls, genomes: Iterable[Genome], base: Genome, *, batch_size: int, device: str = "cpu", keep: bool = True
    ) -> LatencyTable:
        """The table of all parts of `genomes`. Parts that the device's file lacks are timed, in multiples of `base`.

        Nothing else may run meanwhile. keep: write new times to that file.
        """
        genomes = list(genomes)
        file = device_file(base, device, batch_size)
        quiet = os.getloadavg()[0] < hardware()["cores"] / 2
        with locked(file):
            known = known_parts(base, device, batch_size)
            samples: dict[str, list[float]] = defaultdict(list)
            for genome in missing(genomes, known):
                times = part_times(genome, base, batch_size=batch_size, device=device)
                for name, key in parts(genome).items():
                    samples[key].append(times[name])
            known = {key: statistics.median(values) for key, values in samples.items()} | known
            if samples and keep and quiet:
                with contextlib.suppress(OSError):  # without a cache, the next run times them again
                    write_json(file, _conditions(base, device, batch_size) | {"multiples": known})
        pace = throughput(build(base), batch_size=batch_size, device=device)
        wanted = {key for genome in genomes for key in parts(genome).values()}
        seconds = {key: pace.median_seconds * known[key] for key in sorted(wanted)}
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # the workers need the memory
        return cls(seconds, device_name(device), pace.threads, batch_size)

    def write(self, path: Path) -> None:
        write_sealed(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        """Raises RunError, with the key path, if the file is damaged."""
        try:
            table = read_sealed(path, TypeAdapter(cls).validate_python)
            if lacking := KINDS - {key.split(" ", 1)[0] for key in table.seconds}:
                raise ValueError(f"it has the time of no {min(lacking)}")
            return replace(table, seconds={without_timeless(key): value for key, value in table.seconds.items()})
        except (OSError, ValueError, TypeError) as error:
            what, where = fault(error)
        raise RunError(f"not a table of timings: {what}; delete it to measure again", file=path, path=where)


def fault(error: Exception) -> tuple[str, str]:
    """What is wrong with a table that cannot be read, and the path of the key."""
    if not isinstance(error, ValidationError):
        return " ".join(str(error).split()), ""
    first = error.errors()[0]
    return wording(first), ".".join(map(str, first["loc"]))


def device_file(base: Genome, device: str, batch_size: int) -> Path:
    """The file of a device's times, in multiples of the time of `base`, under the present conditions."""
    return cache_file(_conditions(base, device, batch_size), ".latency.json")


def known_parts(base: Genome, device: str, batch_size: int) -> dict[str, float]:
    """Time of each part in the device's file; empty if it is missing or not readable."""
    try:
        content = parse_json(regular(device_file(base, device, batch_size)).read_text())
        return TypeAdapter(dict[str, Timed]).validate_python(content["multiples"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def missing(genomes: Iterable[Genome], known: Collection[str]) -> list[Genome]:
    """The genomes that have a part without a known time."""
    return [genome for genome in genomes if not set(parts(genome).values()) <= set(known)]


def _conditions(base: Genome, device: str, batch_size: int) -> dict[str, Any]:
    """Everything besides its key that a part's time depends on."""
    torch_ = [torch.__version__, torch.get_num_threads(), torch.get_float32_matmul_precision()]
    machine = {"device": device_name(device), "cores": hardware()["cores"], "batch_size": batch_size, "torch": torch_}
    return machine | {"base": base.hash, "image": base.image.model_dump(), "source": _code_digest()}


def device_name(device: str) -> str:
    """The name of the processor or the GPU."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else hardware()["cpu"]


def _code_digest() -> str:
    """A hash of the code of these packages, and of blocks that are defined elsewhere."""
    files = {file for name in TIMED_PACKAGES for file in (Path(__file__).parents[1] / name).glob("*.py")}
    modules = (sys.modules[cls.__module__] for slot in get_args(Slot) for cls in registered(slot).values())
    files |= {Path(name) for module in modules if (name := getattr(module, "__file__", None))}
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(files))).hexdigest()[:16]
