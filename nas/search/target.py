"""A search for another device: `budget: {latency: 4, table: table.json}`, a table that `nas latency` has made there.

Latency is then the milliseconds of one batch on that device, predicted from its table; it is never measured here. The
run keeps a copy, target.json, and goes by it: the directory is complete, and a run is not continued with other times.

A part's key has everything that its time depends on besides the device and the image (nas/profiling/parts.py). So the
table of another space or base is accepted as long as it determines the times of this space.
"""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from random import Random

from nas.errors import RunError, SpaceError
from nas.genome import Genome
from nas.metrics import TARGET
from nas.profiling import TargetTable, covering
from nas.profiling.tables import MAX_IDLE_SAMPLES
from nas.profiling.target import NAMED
from nas.search.space import SearchSpace
from nas.search.spec import SearchSpec
from nas.seeds import derive
from nas.shipped import SPACES

KEY = "budget.table"


def read_target(spec: SearchSpec, run: Path | None = None) -> TargetTable | None:
    """The table of another device, if the search has one. run: of a run that has begun, which goes by its copy.

    Raises SpecError for a missing or damaged file; RunError if the run was begun with another table.
    """
    if spec.budget.table is None:
        return None
    given = Path(spec.budget.table)
    if run is None:
        if not given.is_file():
            message = f"no such file: {given}; `nas latency` on the device writes one"
            raise SpaceError(message, file=spec.file, path=KEY)
        return TargetTable.read(given)
    kept = run / TARGET
    if not kept.is_file():
        raise RunError("the table that the run goes by is gone; restore it, or choose another RUN", file=kept)
    table = TargetTable.read(kept)
    if given.is_file() and TargetTable.read(given) != table:
        message = f"{given} is another table than the run was begun with, which it keeps as {kept}"
        raise RunError(f"{message}; choose another RUN, or name that one", file=spec.file, path=KEY)
    return table


def timed_on(table: TargetTable, spec: SearchSpec, space: SearchSpace) -> SearchSpace:
    """The space of what the table has times for. Raises SpaceError if it is for other images, or lacks a part."""
    image = space.base.image
    wanted = (image.channels, image.size, image.size)
    refused = None
    if table.image != wanted:
        refused = f"was measured for images of {_times(table.image)}, and those of this search are {_times(wanted)}"
    elif table.classes != space.base.classes:
        refused = f"was measured for {table.classes} classes, and this search has {space.base.classes}"
    elif lacking := table.lacking(covering(space.base, partial(space.sample, timing_draws(spec)))):
        more = f", and {len(lacking) - NAMED} more" if len(lacking) > NAMED else ""
        origin = "" if table.base == space.base.hash else f" (it was measured for {table.space}, around another base)"
        refused = f"lacks parts of the space{origin}: {'; '.join(lacking[:NAMED])}{more}"
    elif any(not table.determines(genome) for genome in _some(space, timing_draws(spec))):
        refused = f"is fitted to whole models of {table.space}, which do not determine the times of this space"
    if refused is not None:
        message = f"the table {refused}. Measure on the device: {command(table, spec, space)}"
        raise SpaceError(message, file=spec.budget.table, path=KEY)
    return space.timed_by(table)


def said(table: TargetTable, spec: SearchSpec, space: SearchSpace) -> str:
    """What a search goes by, in a sentence."""
    text = f"latency is that of {table.conditions}, predicted: {table.accuracy}"
    if table.base != space.base.hash:
        text += f"; measured for {table.space} around another base, which has all parts of this space"
    return text


def timing_draws(spec: SearchSpec) -> Random:
    """The generator of the genomes that are timed: the same ones on every machine."""
    return Random(derive(spec.seed, "latency"))


def command(table: TargetTable, spec: SearchSpec, space: SearchSpace) -> str:
    """The command that makes such a table for this search, also where its images are not."""
    base = space.base
    options = {
        "out": "table.json",
        "batch-size": table.batch_size,
        "threads": table.threads,
        "runtime": table.runtime,
        "image-size": base.image.size,
        "channels": base.image.channels,
        "classes": base.classes,
    }
    file = spec.file.name if spec.file is not None else "SPACE"
    source = spec.name if spec.name in SPACES.files else file
    words = ["nas latency", shlex.quote(source), *(f"--{key} {value}" for key, value in options.items())]
    return f"{' '.join(words)}, with the --set of the search"


def _some(space: SearchSpace, rng: Random) -> list[Genome]:
    drawn = (space.sample(rng) for _ in range(MAX_IDLE_SAMPLES))
    return [space.base, *(genome for genome in drawn if genome is not None)]


def _times(image: tuple[int, int, int]) -> str:
    return "×".join(map(str, image))
