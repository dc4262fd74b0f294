"""A dry run (nas/search/dry_run.py) in the terminal."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table

from nas.genome.describe import describe
from nas.metrics import METRICS, ON_TARGET
from nas.profiling import TargetTable
from nas.report.target import words
from nas.search.budget import Budget
from nas.search.dry_run import DRAWS, DryRun, combinations
from nas.search.forecast import WINNERS, Forecast
from nas.search.space import SearchSpace


def dry_run_table(found: DryRun) -> RenderableType:
    """Shares of valid genomes and of those within the budget, the estimated time of a search, and sample genomes."""
    spec, space = found.spec, found.space
    return Group(
        f"{spec.name} on {spec.data}: {size(space)}, {len(space.parameters)} parameters, {spec.trials} trials",
        f"of {DRAWS} random ones, {100 * found.valid:.0f} % make a genome"
        f" and {100 * found.feasible:.0f} % are within the budget ({_budget(spec.budget, found.target)})",
        *([found.untimed] if found.untimed else []),
        *_time(found.forecast),
        "",
        _table(found),
    )


def dry_run_data(found: DryRun) -> dict[str, Any]:
    """The same as plain data. seconds: the estimate of the whole search, or null with the reason in `failure`."""
    count, ranges = combinations(found.space)
    times = found.forecast
    pairs = zip(found.genomes, found.costs, strict=True)
    return {
        "space": found.spec.name,
        "data": found.spec.data,
        "combinations": count,
        "ranges": ranges,
        "valid": found.valid,
        "feasible": found.feasible,
        "untimed": found.untimed or None,
        "seconds": times.seconds if times.trials else None,
        "failure": times.failure,
        "genomes": [{"hash": genome.hash, **costs, "layers": describe(genome)} for genome, costs in pairs],
    }


def size(space: SearchSpace) -> str:
    """The size of a space, in words."""
    count, ranges = combinations(space)
    text = f"{count:,} combinations" if count < 1e12 else f"{count:.2e} combinations"
    return f"{text}, and {ranges} continuous range{'s' if ranges > 1 else ''} on top" if ranges else text


def _budget(budget: Budget, target: TargetTable | None) -> str:
    sides = {"min": "at most", "max": "at least"}
    parts = [f"{n} {sides[METRICS[n].direction]} {METRICS[n].phrase(limit)}" for n, limit in budget.limits.items()]
    there = f" on {target.device}" if target is not None else ""
    return ", ".join(part + there if part.startswith(ON_TARGET) else part for part in parts) or "none"


def _time(times: Forecast) -> list[str]:
    """The estimated time in seconds, and how it was estimated."""
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


def _table(found: DryRun) -> Table:
    """Genomes with their costs and, where known, the seconds of a whole training."""
    names = ["base", *["random"] * (len(found.genomes) - 1)]
    seconds = [*([None] if len(found.genomes) > 1 else []), *found.forecast.trials]
    table = Table(box=None, pad_edge=False)
    headings = ["", *(_heading(name, found.target) for name in found.costs[0]), "seconds", "layers by stage"]
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("", headings[-1]) else "right")
    for name, genome, costs, trial in zip_longest(names, found.genomes, found.costs, seconds):
        cells = [METRICS[metric].text(value) for metric, value in costs.items()]
        table.add_row(name, *cells, _seconds(trial) if trial is not None else "–", describe(genome))
    return table


def _heading(metric: str, target: TargetTable | None) -> str:
    heading = METRICS[metric].heading
    if target is None:
        return heading
    return words(target.device, target.runtime, target.threads, target.batch_size).get(heading, heading)


def _seconds(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
