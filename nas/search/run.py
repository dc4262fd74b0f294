"""A search from its space to its front: what `nas search` calls.

    results/<run>/   run.yaml, trials/<id>/, trials.csv, front.csv, winners/, hypervolume.csv,
                     latency.json (if time matters), baseline/trials/ (with `baseline: random`), optuna.db

Called again with the same directory it resumes: trials that ended are kept, those that were running go on from their
checkpoints, the sampler continues its sequence; with a larger `trials` the search goes further. Everything that a user
can get wrong is found before the directory is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from nas.device import default_device
from nas.engine import Event, Ledger, OnEvent, Run
from nas.engine.events import ignore
from nas.engine.training import TrainJob
from nas.files import write_atomically
from nas.genome import Genome
from nas.metrics.estimate import Estimate, estimator
from nas.search.anytime import BASELINE, anytime
from nas.search.budget import check_feasible
from nas.search.retention import WeightRetention
from nas.search.samplers import SamplerOptions, make_sampler, sampler_options
from nas.search.schedulers import make_scheduler
from nas.search.searcher import Searcher
from nas.search.space import SearchSpace
from nas.search.spec import SearchSpec, upgrade_spec
from nas.search.study import study_of
from nas.search.timings import table_file, timings
from nas.search.warm_start import earlier_runs, take_over
from nas.search.winners import RunExaminer, write_front
from nas.seeds import derive
from nas.train import fitted

FREE = {"trials", "workers", "notes", "name", "baseline", "study", "storage"}  # what may differ when a run is continued


@dataclass(frozen=True)
class SearchResult:
    """What a search leaves behind: the tables of trials.csv and front.csv, and why it ended early if it did."""

    directory: Path
    trials: pd.DataFrame
    front: pd.DataFrame
    message: str | None = None


@dataclass(frozen=True)
class Plan:
    """A search once its data has been looked at. space: around the base genome as the data has it."""

    spec: SearchSpec
    space: SearchSpace
    estimate: Estimate


def search(space: SearchSpec, directory: Path, *, on_event: OnEvent = ignore) -> SearchResult:
    """Run or resume a search in a run directory. space: as `load_space` reads it.

    Raises SpecError (SpaceError, GenomeError, DataError, BudgetError, RunError) for what the user can mend, before
    anything is written. After KeyboardInterrupt, trials.csv, front.csv and winners/ show the state so far.

    >>> search(load_space("lavit_split").with_settings({"trials": 4}), Path("results/try")).front
    """
    run = Run(directory, "search", _upgraded, storage=space.storage)
    around = resolved(space)
    spec = recorded(space, around.base)
    if run.begun is not None:  # the sampler's numbers were settled when the run began
        given = {key: value for key, value in spec["sampler"].items() if value is not None}
        spec["sampler"] = run.begun["sampler"] | given
    run.check(spec, free=FREE)
    earlier = earlier_runs(space.warm_start, spec) if run.begun is None else []
    seed, device = derive(space.seed, "latency"), default_device(space.workers.gpu)
    tables = timings(space.costs, around, run.directory, seed=seed, device=device, on_event=on_event)
    plan = Plan(space, around, estimator(space.costs, tables))
    check_feasible(around, space.budget, plan.estimate, seed=derive(space.seed, "probe"))

    objectives = list(space.objectives)
    with run.opened(space.workers):
        sampler = sampler_options(spec["sampler"]).settled(trials=space.trials, slots=run.pool.slots)
        for size, table in tables.items():
            table.write(table_file(run.directory, size))
        if earlier:
            text = take_over(earlier, run.ledger, around, space, plan.estimate)
            on_event(Event("message", data={"text": text}))
        run.begin(spec | {"sampler": sampler.model_dump(mode="json")}, seed=space.seed)
        try:
            message = _run(plan, sampler, run, on_event)
            if space.baseline:
                text = f"the baseline: {space.trials} trials drawn at random"
                on_event(Event("message", data={"text": text}))
                with run.within(BASELINE) as beside:
                    _run(plan, sampler_options({"name": space.baseline, "lag": sampler.lag}), beside, on_event)
        except KeyboardInterrupt:
            if run.ledger.trials:
                write_front(run.directory, run.ledger.table(), objectives, budget=space.budget, examiner=None)
            raise
        reached = anytime(run.directory, objectives)
        write_atomically(run.directory / "hypervolume.csv", lambda path: reached.to_csv(path, index=False))
        examiner = RunExaminer(run, space.task, device, on_event)
        front = write_front(run.directory, run.ledger.table(), objectives, budget=space.budget, examiner=examiner)
    return SearchResult(run.directory, run.ledger.table(), front, message or _failure(run.ledger))


def _run(plan: Plan, sampler: SamplerOptions, run: Run, on_event: OnEvent) -> str | None:
    """Search in a run's directory, to the end; why it ended early, if it did."""
    spec, objectives = plan.spec, list(plan.spec.objectives)
    searcher = Searcher(
        plan.space,
        spec.budget,
        plan.estimate,
        make_sampler(sampler, plan.space, objectives, seed=spec.seed),
        make_scheduler(spec.scheduler, spec.training.epochs),
        run.ledger,
        objectives=objectives,
        trials=spec.trials,
        seed=spec.seed,
        lag=sampler.lag or 0,
        on_event=on_event,
        repeat=spec.repeat,
    )
    listener = on_event
    if spec.keep == "front":
        listener = _both(WeightRetention(run.ledger, objectives, repeat=spec.repeat), listener)
    name = run.directory.name
    if name == BASELINE:
        name = f"{run.directory.parent.name}-{BASELINE}"
    work = TrainJob(spec.task, device=run.pool.device, threads=run.pool.cpu)
    with study_of(run.ledger, spec.study, name, plan.space, spec.objectives, listener) as told:
        run.train(searcher, work, told)
    return searcher.message


def resolved(spec: SearchSpec) -> SearchSpace:
    """The space around the base genome as the data has it. Raises DataError, GenomeError, SpaceError."""
    return spec.space(fitted(spec.genome(), spec.task.load()))


def recorded(spec: SearchSpec, base: Genome) -> dict[str, Any]:
    """The spec as run.yaml keeps it: everything written out, but for genome and parameters, which stay short."""
    record = spec.model_dump(mode="json")
    record["base"] = base.model_dump(mode="json", exclude_defaults=True)
    for path, parameter in spec.parameters.items():
        record["parameters"][path] = parameter.model_dump(mode="json", exclude_defaults=True)
    record["data"] = spec.task.data
    return record


def _upgraded(spec: dict[str, Any]) -> dict[str, Any]:
    """A recorded spec with the keys that have come since, at their defaults."""
    read = SearchSpec.parse(upgrade_spec(spec))
    return recorded(read, read.genome())


def _both(first: OnEvent, second: OnEvent) -> OnEvent:
    def on_event(event: Event) -> None:
        first(event)
        second(event)

    return on_event


def _failure(ledger: Ledger) -> str | None:
    """Why nothing was found, if no trial completed."""
    ended = [trial.outcome for trial in ledger.trials if trial.outcome is not None]
    if any(outcome.state == "complete" for outcome in ended):
        return None
    reasons = [outcome.reason for outcome in ended if outcome.state == "failed"]
    return f"no trial completed; the first failure was: {reasons[0]}" if reasons else "no trial completed"
