"""What a search would be, without making a run: the space's size, what the budget leaves, sample genomes, the time.

Sizes, shares and costs are worked out. For the time some of the samples are trained for a few steps
(nas/search/forecast.py). A budget of time needs models to be timed as well, which is done here only if it is quick.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from functools import partial
from itertools import zip_longest
from random import Random

import torch
from rich.console import Group, RenderableType
from rich.table import Table

from nas.cost.latency import LatencyTable, known_parts, missing
from nas.errors import GenomeError
from nas.genome import Genome
from nas.metrics import METRICS
from nas.metrics.estimate import Costs, batch_sizes, estimator
from nas.model import build
from nas.report.describe import describe
from nas.search import SearchSpec
from nas.search.budget import Budget, check_feasible
from nas.search.forecast import WINNERS, Forecast, device_of, forecast
from nas.search.parameter import Parameter
from nas.search.run import resolve
from nas.search.space import Assignment, SearchSpace
from nas.search.timings import covering
from nas.seeds import derive

DRAWS = 500
SAMPLES = 10
PATIENCE = 6.0  # seconds that timing models for a budget may take
SECONDS, CALLS = 3.0, 36  # that it takes for one model: these seconds, or so many batches if they are slower


def preview(spec: SearchSpec) -> RenderableType:
    """The shares of genomes that are valid and within the budget, the time of a search, and sample genomes.

    Takes some seconds. Raises what `nas.search.search` raises for a bad space, or a budget that nothing can meet.
    """
    begin = time.perf_counter()
    space, _, images = resolve(spec)
    loading = time.perf_counter() - begin
    tables, untimed = _tables(spec, space, spec.budget.limits)
    known = [name for name in spec.costs if METRICS[name].batch_size in {None, *tables}]
    budget = Budget({name: limit for name, limit in spec.budget.limits.items() if name in known})
    estimate = estimator(known, tables)
    check_feasible(space, budget, estimate, seed=derive(spec.seed, "probe"))
    valid = _drawn(space, derive(spec.seed, "preview"))
    within = [genome for genome in valid if budget.refusal(estimate(genome)) is None]
    genomes = [space.base, *within[:SAMPLES]]
    times = forecast(spec, genomes[1:] or genomes, images, loading=loading)
    names = ["base", *["random"] * (len(genomes) - 1)]
    seconds = [*([None] if len(genomes) > 1 else []), *times.trials]
    return Group(
        f"{spec.name} on {spec.data}: {size(space)}, {len(space.parameters)} parameters, {spec.trials} trials",
        f"of {DRAWS} random ones, {100 * len(valid) / DRAWS:.0f} % make a genome"
        f" and {100 * len(within) / DRAWS:.0f} % are within the budget ({_budget(spec.budget)})",
        *([untimed] if untimed else []),
        *_time(times),
        "",
        _table(names, genomes, [estimate(genome) for genome in genomes], seconds),
    )


def size(space: SearchSpace) -> str:
    """How many combinations of values there are, conditions taken into account."""
    ranges = sum(parameter.values is None for parameter in space.parameters)
    count = math.prod(_count(group, {}) for group in _independent(space.parameters))
    text = f"{count:,} combinations" if count < 1e12 else f"{count:.2e} combinations"
    return f"{text}, and {ranges} continuous range{'s' if ranges > 1 else ''} on top" if ranges else text


def _count(parameters: Sequence[Parameter], chosen: Assignment) -> int:
    """Combinations of the values of `parameters`, given those of the ones before; a continuous one counts as one."""
    if not parameters:
        return 1
    first, rest = parameters[0], parameters[1:]
    if not first.active(chosen):
        return _count(rest, chosen)
    values = first.values if first.values is not None else (first.low,)
    if not any(path == first.path for parameter in rest for path, _ in parameter.conditions):
        return len(values) * _count(rest, chosen)
    return sum(_count(rest, chosen | {first.path: value}) for value in values)


def _independent(parameters: Sequence[Parameter]) -> list[list[Parameter]]:
    """Groups of parameters between which there are no conditions; inside a group the order is kept."""
    groups: list[list[Parameter]] = []
    for parameter in parameters:
        named = {path for path, _ in parameter.conditions}
        joined = [group for group in groups if named & {other.path for other in group}]
        groups = [group for group in groups if group not in joined]
        groups.append([*(other for group in joined for other in group), parameter])
    return groups


def _drawn(space: SearchSpace, seed: int) -> list[Genome]:
    rng, valid = Random(seed), []
    for _ in range(DRAWS):
        try:
            valid.append(space.genome(space.draw(rng)))
        except GenomeError:  # values that are right one by one and do not go together
            continue
    return valid


def _tables(spec: SearchSpec, space: SearchSpace, limits: Collection[str]) -> tuple[dict[int, LatencyTable], str]:
    """The tables of timings that the budget is checked with, or none and why they are not made here."""
    device = device_of(spec)
    genomes = list(covering(space, derive(spec.seed, "latency"))) if batch_sizes(limits) else []
    models = {size: len(missing(genomes, known_parts(space.base, device, size))) for size in batch_sizes(limits)}
    seconds = sum(
        count * max(SECONDS, CALLS * _batch_seconds(space.base, device, size)) for size, count in models.items()
    )
    if seconds <= PATIENCE:
        measure = partial(LatencyTable.measure, genomes, space.base, device=device, keep=False)
        return {size: measure(batch_size=size) for size in models}, ""
    predicted = [name for name in limits if METRICS[name].known == "table"]
    wanted = " and ".join(METRICS[name].phrase(spec.budget.limits[name]) for name in predicted)
    return {}, (
        f"whether {wanted} can be met is known after {max(models.values())} models that have all parts"
        f" of the space between them are timed, which a search does first, in about {seconds:.0f} seconds"
    )


def _batch_seconds(genome: Genome, device: str, batch_size: int) -> float:
    model, image = build(genome).eval().to(device), genome.image
    images_BCHW = torch.zeros(batch_size, image.channels, image.size, image.size, device=device)
    with torch.inference_mode():
        for _ in range(2):  # the first one warms up
            begin = time.perf_counter()
            model(images_BCHW).sum().item()
    return time.perf_counter() - begin


def _budget(budget: Budget) -> str:
    sides = {"min": "at most", "max": "at least"}
    parts = [f"{n} {sides[METRICS[n].direction]} {METRICS[n].phrase(limit)}" for n, limit in budget.limits.items()]
    return ", ".join(parts) or "none"


def _time(times: Forecast) -> list[str]:
    """The time in seconds, and how it was found."""
    if not times.trials:
        return [f"no estimate of the time: {times.failure}"]
    trial = " to ".join(_seconds(value) for value in sorted({min(times.trials), max(times.trials)}))
    parts = [
        f"{times.trainings:,} trainings of {trial} seconds, {times.slots} at a time",
        f"{times.start:.0f} seconds to start",
        f"{times.winners:.0f} to measure {WINNERS} winners",
    ]
    how = f"a few training steps of {len(times.trials)} of the genomes below, one at a time on {times.device}"
    return [
        f"estimated time: {times.seconds:,.0f} seconds ({', '.join(parts)})",
        f"estimated from {how}; {times.failure or 'it moves with what else the machine does'}",
    ]


def _table(
    names: Sequence[str], genomes: Sequence[Genome], found: Sequence[Costs], seconds: Sequence[float | None]
) -> Table:
    """Genomes with what they cost; seconds of a whole training where they are known."""
    table = Table(box=None, pad_edge=False)
    headings = ["", *(METRICS[name].heading for name in found[0]), "seconds", "layers by stage"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("", headings[-1]) else "right")
    for name, genome, costs, trial in zip_longest(names, genomes, found, seconds):
        cells = [METRICS[metric].text(value) for metric, value in costs.items()]
        table.add_row(name, *cells, _seconds(trial) if trial is not None else "–", describe(genome))
    return table


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
