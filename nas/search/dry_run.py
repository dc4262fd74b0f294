"""A dry run of a search: its size, the share within budget, sample genomes and the duration, without making a run.

Sizes, shares and costs are computed. The duration is extrapolated from training some samples for a few steps
(nas/search/forecast.py). A time budget also needs timed models, which are measured here only if that is quick.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from nas.data import account_of
from nas.engine import Event, OnEvent
from nas.engine.events import ignore
from nas.engine.start import check_start
from nas.genome import Genome
from nas.metrics import METRICS, Costs, batch_sizes, estimator
from nas.profiling import LatencyTable, TargetTable, covering, known_parts, missing
from nas.search.budget import Budget, check_feasible
from nas.search.forecast import Forecast, forecast, seconds_per_image
from nas.search.parameter import Parameter
from nas.search.recorded import recorded
from nas.search.run import introduced, resolved
from nas.search.samplers import SAMPLERS
from nas.search.space import Assignment, SearchSpace
from nas.search.spec import SearchSpec
from nas.search.target import read_target, said, timed_on, timing_draws
from nas.search.warm_start import earlier_runs
from nas.seeds import derive

DRAWS = 500
SAMPLES = 10
MAX_TIMING_SECONDS = 6.0  # limit for timing models for a budget
SECONDS, CALLS = 3.0, 36  # to time one model: these seconds, or this many batches if slower


@dataclass(frozen=True)
class DryRun:
    """valid, feasible: shares of random assignments that give a genome, and that are also within the budget.

    genomes: the base, then random feasible ones; costs: of each. untimed: why a time budget was not checked, or empty.
    forecast: of the duration, from `genomes[1:]`, or from the base if nothing else is feasible. target: the table of
    another device, by which latency is predicted.
    """

    spec: SearchSpec
    space: SearchSpace
    valid: float
    feasible: float
    genomes: list[Genome]
    costs: list[Costs]
    untimed: str
    forecast: Forecast
    target: TargetTable | None


def dry_run(spec: SearchSpec, *, on_event: OnEvent = ignore) -> DryRun:
    """Takes some seconds, beside the loading of the data; `on_event` is told what was loaded, and what is being done.

    Raises what `search` raises for an invalid space, a base that is far larger on this data than it was made for, an
    infeasible budget, or earlier runs (`warm_start`) that cannot be compared.

    >>> dry_run(load_space("mixed")).feasible
    1.0
    """

    def say(text: str) -> None:
        on_event(Event("message", data={"text": text}))

    begin = time.perf_counter()
    say(f"loading {spec.data}")
    images, _ = spec.task.prepared()
    space = resolved(spec, images)
    introduced(spec, space, images, on_event, meant=False)
    loading = time.perf_counter() - begin
    SAMPLERS[spec.sampler.name].check(space)
    for run in earlier_runs(spec.warm_start, recorded(spec, space.base), account_of(images)):
        check_start(spec, run)
    target = read_target(spec)
    if target is not None:
        space = timed_on(target, spec, space)
        say(said(target, spec, space))
    tables, untimed = _tables(spec, space)
    local = [name for name in spec.costs_here if METRICS[name].batch_size in {None, *tables}]
    known = [name for name in spec.costs if name in local or name not in spec.costs_here]
    budget = Budget.model_validate({name: limit for name, limit in spec.budget.limits.items() if name in known})
    estimate = estimator(known, tables, target=target)
    check_feasible(space, budget, estimate, seed=derive(spec.seed, "probe"))
    valid = _drawn(space, derive(spec.seed, "preview"))
    feasible = [genome for genome in valid if budget.refusal(estimate(genome)) is None]
    genomes = [space.base, *feasible[:SAMPLES]]
    return DryRun(
        spec,
        space,
        valid=len(valid) / DRAWS,
        feasible=len(feasible) / DRAWS,
        genomes=genomes,
        costs=[estimate(genome) for genome in genomes],
        untimed=untimed,
        forecast=forecast(spec, genomes[1:] or genomes, images, loading=loading, say=say),
        target=target,
    )


def combinations(space: SearchSpace) -> tuple[int, int]:
    """The number of value combinations, given the conditions, and the number of continuous ranges."""
    ranges = sum(parameter.values is None for parameter in space.parameters)
    return math.prod(_count(group, {}) for group in _independent(space.parameters)), ranges


def _count(parameters: Sequence[Parameter], chosen: Assignment) -> int:
    """Value combinations of `parameters`, given earlier values; a continuous range counts as one value."""
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
    """Groups of parameters with no conditions between groups; the order within a group is kept."""
    groups: list[list[Parameter]] = []
    for parameter in parameters:
        named = {path for path, _ in parameter.conditions}
        joined = [group for group in groups if named & {other.path for other in group}]
        groups = [group for group in groups if group not in joined]
        groups.append([*(other for group in joined for other in group), parameter])
    return groups


def _drawn(space: SearchSpace, seed: int) -> list[Genome]:
    rng = Random(seed)
    sampled = [space.sample(rng) for _ in range(DRAWS)]
    return [genome for genome in sampled if genome is not None]


def _tables(spec: SearchSpec, space: SearchSpace) -> tuple[dict[int, LatencyTable], str]:
    """The timing tables for checking the budget, or none and why they are not measured here."""
    limits = {name: limit for name, limit in spec.budget.limits.items() if name in spec.costs_here}
    device = spec.workers.device
    sizes = batch_sizes(limits)
    sample = partial(space.sample, timing_draws(spec))
    genomes = list(covering(space.base, sample)) if sizes else []
    models = {size: len(missing(genomes, known_parts(space.base, device, size))) for size in sizes}
    seconds = sum(
        count * max(SECONDS, CALLS * size * seconds_per_image(space.base, device)) for size, count in models.items()
    )
    if seconds <= MAX_TIMING_SECONDS:
        measure = partial(LatencyTable.measure, genomes, space.base, device=device, keep=False)
        return {size: measure(batch_size=size) for size in models}, ""
    predicted = [name for name in limits if METRICS[name].known == "table"]
    wanted = " and ".join(METRICS[name].phrase(limits[name]) for name in predicted)
    return {}, (
        f"whether {wanted} can be met is known after {max(models.values())} models that have all parts"
        f" of the space between them are timed, which a search does first, in about {seconds:.0f} seconds"
    )
