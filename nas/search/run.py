"""Runs a whole search, from its space to its front; called by `nas search`.

    results/<run>/   run.yaml, trials/<id>/, trials.csv, front.csv, winners/, hypervolume.csv, gain.json,
                     latency.json (with time metrics), target.json (with `budget.table`), optuna.db,
                     baseline/trials/ (with `baseline: random`)

Called again with the same directory, it resumes: ended trials are kept, running ones continue from their checkpoints,
and the sampler continues its sequence. With a larger `trials`, the search is extended. All user errors are detected
before the directory is created.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from nas.data import ImageSet, account_of
from nas.engine import Event, Ledger, OnEvent, Run
from nas.engine.events import both, ignore
from nas.engine.scale import introduce
from nas.engine.start import check_start, keep_start
from nas.engine.tracking import check_trackers, tracked
from nas.engine.training import TrainJob
from nas.metrics import METRICS, TARGET, Estimate, batch_sizes, estimator
from nas.model.inheritable import check_inheritable
from nas.profiling import LatencyTable, TargetTable, run_tables, table_file
from nas.search.anytime import BASELINE, anytime
from nas.search.budget import check_feasible
from nas.search.estimated_gain import estimated
from nas.search.gain import measured, worked_out_from
from nas.search.recorded import recorded, upgraded
from nas.search.retention import WeightRetention
from nas.search.samplers import SAMPLERS, SamplerOptions, make_sampler, sampler_options
from nas.search.samplers.optuna_base import verbosity_kept
from nas.search.schedulers import make_scheduler, scheduler_options
from nas.search.searcher import Searcher
from nas.search.space import SearchSpace
from nas.search.spec import SearchSpec
from nas.search.study import study_of
from nas.search.target import read_target, said, timed_on, timing_draws
from nas.search.warm_start import earlier_runs, take_over
from nas.search.winners import RunExaminer, write_front
from nas.seeds import derive
from nas.train import Task, check_teacher, fitted
from nas.train.ranks import check_shares

MAY_DIFFER = {
    "trials",
    "training.checkpoint_every",
    "workers",
    "limits",
    "notes",
    "name",
    "baseline",
    "study",
    "track",
    "storage",
    "max_pixels",
    "start",  # its weights are compared
}  # when a run is resumed


@dataclass(frozen=True)
class SearchResult:
    """The result of a search: the tables of trials.csv and front.csv, and why it ended early, if it did."""

    directory: Path
    trials: pd.DataFrame
    front: pd.DataFrame
    message: str | None = None


def search(space: SearchSpec, directory: Path, *, on_event: OnEvent = ignore) -> SearchResult:
    """Run or resume a search in a run directory. space: as `load_space` reads it.

    Raises SpecError (SpaceError, GenomeError, DataError, BudgetError, RunError) for user errors, before anything
    is written. After KeyboardInterrupt, trials.csv, front.csv and winners/ show the state so far.

    >>> search(load_space("lavit_split").with_settings({"trials": 4}), Path("results/try")).front
    """
    plan = _planned(Run(directory, "search", space, upgraded), on_event)
    with verbosity_kept(), plan.run.opened(plan.on_event):
        sampler = _begin(plan)
        try:
            message = _train(plan, plan.run, sampler)
            if space.baseline:
                plan.say(f"the baseline: {space.trials} trials drawn at random")
                with plan.run.within(BASELINE, plan.on_event) as beside:
                    _train(plan, beside, sampler_options({"name": space.baseline, "lag": sampler.lag}))
        except KeyboardInterrupt:
            if plan.run.ledger.trials:
                write_front(plan.run, None)
            raise
        _write_growth(plan)
        front = write_front(plan.run, RunExaminer(plan.run, plan.task, plan.device, on_event))
    return SearchResult(plan.run.directory, plan.run.ledger.table(), front, message or _failure(plan.run.ledger))


@dataclass(frozen=True)
class Plan:
    """A search that is ready to run: all user input has been checked.

    space: around the base genome fitted to the data. record: the spec as stored in run.yaml.
    """

    run: Run[SearchSpec]
    on_event: OnEvent
    task: Task
    device: str
    space: SearchSpace
    record: dict[str, Any]
    earlier: list[Path]
    tables: dict[int, LatencyTable]
    target: TargetTable | None
    estimate: Estimate
    images: ImageSet

    def say(self, text: str) -> None:
        self.on_event(Event("message", data={"text": text}))


def _planned(run: Run[SearchSpec], on_event: OnEvent) -> Plan:
    """Check all user input. Nothing is written."""
    run.spec = run.spec.resumed(run.begun)
    spec, device = run.spec, run.spec.workers.device
    check_trackers(spec.track)
    images, task = spec.task.prepared()
    space = resolved(spec, images)
    SAMPLERS[spec.sampler.name].check(space)
    record = recorded(spec, space.base)
    if run.begun is not None:  # what the file leaves open is what it was then: settled, or another default
        stated = "sampler" in spec.model_fields_set
        given = {key: value for key, value in record["sampler"].items() if stated and value is not None}
        record["sampler"] = run.begun["sampler"] | given
        given = spec.scheduler.model_dump(mode="json", include=spec.scheduler.model_fields_set)
        stated = "scheduler" in spec.model_fields_set
        record["scheduler"] = run.begun.get("scheduler", {"name": "full"}) | (given if stated else {})
    run.check(record, may_differ=MAY_DIFFER, data=account_of(images), start=spec.donor)
    if run.begun is not None:
        check_start(spec, run.directory)
    introduced(spec, space, images, on_event, meant=run.begun is not None)
    earlier = earlier_runs(spec.warm_start, record, run.data) if run.begun is None else []
    for one in earlier:
        check_start(spec, one)
    target = read_target(spec, run.directory if run.begun is not None else None)
    if target is not None:
        space = timed_on(target, spec, space)
        on_event(Event("message", data={"text": said(target, spec, space)}))
    tables = run_tables(
        batch_sizes(spec.costs_here),
        space.base,
        lambda: partial(space.sample, timing_draws(spec)),
        run.directory,
        device=device,
        say=lambda text: on_event(Event("message", data={"text": text})),
    )
    estimate = estimator(spec.costs, tables, target=target)
    if (changed := timed_otherwise(run.ledger, estimate)) is not None:
        on_event(Event("message", data={"text": changed}))
    check_feasible(space, spec.budget, estimate, seed=derive(spec.seed, "probe"))
    return Plan(run, on_event, task, device, space, record, earlier, tables, target, estimate, images)


def timed_otherwise(ledger: Ledger, estimate: Estimate) -> str | None:
    """What to say if an earlier trial's costs go by another table of timings than those of the trials to come."""
    timed = {name for name, metric in METRICS.items() if metric.known == "table"}
    earlier = next((trial.job for trial in ledger.trials if timed & trial.job.costs.keys()), None)
    if earlier is None:
        return None
    now = estimate(earlier.genome)
    for name, then in earlier.costs.items():
        if name in timed and name in now and not math.isclose(then, now[name], rel_tol=1e-6):
            return (
                f"the timings are not those by which earlier trials were estimated: {name} of trial {earlier.id} was "
                f"{METRICS[name].phrase(then)}, and would be {METRICS[name].phrase(now[name])}; the two do not compare"
            )
    return None


def _begin(plan: Plan) -> SamplerOptions:
    """Write all files that precede the first trial. Returns the settled sampler options."""
    run, spec = plan.run, plan.run.spec
    sampler = sampler_options(plan.record["sampler"]).settled(trials=spec.trials, slots=run.pool.slots)
    for size, table in plan.tables.items():
        table.write(table_file(run.directory, size))
    if plan.target is not None:
        plan.target.write(run.directory / TARGET)
    if plan.earlier:
        plan.say(take_over(plan.earlier, run.ledger, plan.space, spec, plan.estimate))
    keep_start(spec, run.directory, plan.images, plan.on_event)
    record = plan.record | {"sampler": sampler.model_dump(mode="json")}
    run.begin(record, seed=spec.seed)
    return sampler


def _train(plan: Plan, run: Run[SearchSpec], sampler: SamplerOptions) -> str | None:
    """Run the search in a run's directory. Returns why it ended early, if it did."""
    spec, objectives = run.spec, list(run.spec.objectives)
    seed = spec.seed if run is plan.run else derive(spec.seed, BASELINE)  # both begin with random genomes: other ones
    searcher = Searcher(
        plan.space,
        spec.budget,
        plan.estimate,
        make_sampler(sampler, plan.space, objectives, seed=seed),
        make_scheduler(scheduler_options(plan.record["scheduler"]), spec.training.epochs),
        run.ledger,
        objectives=objectives,
        trials=spec.trials,
        seed=seed,
        lag=sampler.lag or 0,
        on_event=plan.on_event,
        repeat=spec.repeat,
    )
    listener = plan.on_event
    if spec.keep == "front":
        listener = both(WeightRetention(run.ledger, objectives, repeat=spec.repeat), listener)
    name = plan.run.directory.name if run is plan.run else f"{plan.run.directory.name}-{BASELINE}"
    work = TrainJob.on(run.pool, plan.task, spec.donor_for(plan.images))
    with (
        tracked(run.ledger, spec.track, name, listener) as listener,
        study_of(run.ledger, spec.study, name, plan.space, spec.objectives, listener) as listener,
    ):
        run.train(searcher, work, listener)
    return searcher.message


def _write_growth(plan: Plan) -> None:
    """hypervolume.csv and gain.json; the latter where there is something to say."""
    spec, ledger, objectives = plan.run.spec, plan.run.ledger, list(plan.run.spec.objectives)
    record = anytime(ledger, objectives)
    gain = measured(record) or estimated(
        ledger, plan.space, plan.estimate, spec.budget, objectives, epochs=spec.training.epochs, seed=spec.seed
    )
    if gain is not None:
        replace(gain, trials_sha256=worked_out_from(ledger)).write(plan.run.directory)
    plan.run.write_csv("hypervolume.csv", record)


def resolved(spec: SearchSpec, images: ImageSet) -> SearchSpace:
    """The space around the base genome fitted to the images. Raises GenomeError, SpaceError, DataError."""
    base = fitted(spec.genome(), images)
    check_teacher(spec.training.teacher, base, images)
    check_shares(spec.training, images, spec.workers.ranks)
    if spec.donor is not None:
        check_inheritable(base, spec.donor.genome)
    return spec.space(base)


def introduced(spec: SearchSpec, space: SearchSpace, images: ImageSet, on_event: OnEvent, *, meant: bool) -> None:
    """Say what was loaded and what the base costs on it (nas/engine/scale.py). Raises SpaceError."""
    meant = meant or spec.image_size is not None or spec.donor is not None
    introduce(spec.genome(), space.base, images, on_event, suits=spec.space, meant=meant)


def _failure(ledger: Ledger) -> str | None:
    """The reason, if no trial completed."""
    ended = [trial.outcome for trial in ledger.trials if trial.outcome is not None]
    if any(outcome.state == "complete" for outcome in ended):
        return None
    reasons = [outcome.reason for outcome in ended if outcome.state == "failed"]
    return f"no trial completed; the first failure was: {reasons[0]}" if reasons else "no trial completed"
