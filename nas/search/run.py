"""A search from its space to its front: what `nas search` calls.

    results/<run>/   run.yaml, trials/<id>/, trials.csv, front.csv, winners/, hypervolume.csv,
                     latency.json (if time matters), baseline/trials/ (with `baseline: random`), optuna.db

Called again with the same directory it resumes: trials that ended are kept, those that were running go on from their
checkpoints, the sampler continues its sequence; with a larger `trials` the search goes further. Everything that a user
can get wrong is found before the directory is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pandas as pd

from nas.device import default_device
from nas.engine import Event, Ledger, OnEvent, Run
from nas.engine.events import ignore
from nas.engine.training import TrainJob
from nas.files import write_atomically
from nas.genome import Genome
from nas.metrics.estimate import batch_sizes, estimator
from nas.profiling import run_tables, table_file
from nas.search.anytime import BASELINE, anytime
from nas.search.budget import check_feasible
from nas.search.retention import WeightRetention
from nas.search.samplers import SamplerOptions, make_sampler, sampler_options
from nas.search.schedulers import make_scheduler
from nas.search.searcher import Searcher
from nas.search.space import SearchSpace
from nas.search.spec import SearchSpec, upgrade_spec
from nas.search.study import study_of
from nas.search.warm_start import earlier_runs, take_over
from nas.search.winners import Examiner, RunExaminer, write_front
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


def search(space: SearchSpec, directory: Path, *, on_event: OnEvent = ignore) -> SearchResult:
    """Run or resume a search in a run directory. space: as `load_space` reads it.

    Raises SpecError (SpaceError, GenomeError, DataError, BudgetError, RunError) for what the user can mend, before
    anything is written. After KeyboardInterrupt, trials.csv, front.csv and winners/ show the state so far.

    >>> search(load_space("lavit_split").with_settings({"trials": 4}), Path("results/try")).front
    """
    one = _Search(space, directory, on_event)
    one.prepare()
    return one.execute()


class _Search:
    """One search: what its file says, and what data, device and run directory make of it."""

    def __init__(self, spec: SearchSpec, directory: Path, on_event: OnEvent):
        self.spec, self.on_event = spec, on_event
        self.objectives = list(spec.objectives)
        self.run = Run(directory, "search", _upgraded, storage=spec.storage)
        self.device = default_device(spec.workers.gpu)

    def prepare(self) -> None:
        """Find everything that a user can get wrong. Nothing is written."""
        spec, run = self.spec, self.run
        self.space = resolved(spec)
        self.recorded = recorded(spec, self.space.base)
        if run.begun is not None:  # the sampler's numbers were settled then
            given = {key: value for key, value in self.recorded["sampler"].items() if value is not None}
            self.recorded["sampler"] = run.begun["sampler"] | given
        run.check(self.recorded, free=FREE)
        self.earlier = earlier_runs(spec.warm_start, self.recorded) if run.begun is None else []
        seed = derive(spec.seed, "latency")
        self.tables = run_tables(
            batch_sizes(spec.costs),
            self.space.base,
            lambda: partial(self.space.sample, Random(seed)),
            run.directory,
            device=self.device,
            say=self._say,
        )
        self.estimate = estimator(spec.costs, self.tables)
        check_feasible(self.space, spec.budget, self.estimate, seed=derive(spec.seed, "probe"))

    def execute(self) -> SearchResult:
        """Train to the end, then write front and winners."""
        spec, run = self.spec, self.run
        with run.opened(spec.workers):
            sampler = self._begin()
            try:
                message = self._train(sampler, run)
                if spec.baseline:
                    self._say(f"the baseline: {spec.trials} trials drawn at random")
                    with run.within(BASELINE) as beside:
                        self._train(sampler_options({"name": spec.baseline, "lag": sampler.lag}), beside)
            except KeyboardInterrupt:
                if run.ledger.trials:
                    self._write_front(None)
                raise
            reached = anytime(run.directory, self.objectives)
            write_atomically(run.directory / "hypervolume.csv", lambda path: reached.to_csv(path, index=False))
            front = self._write_front(RunExaminer(run, spec.task, self.device, self.on_event))
        return SearchResult(run.directory, run.ledger.table(), front, message or _failure(run.ledger))

    def _begin(self) -> SamplerOptions:
        """What is written before the first trial; the sampler's options, settled."""
        spec, run = self.spec, self.run
        sampler = sampler_options(self.recorded["sampler"]).settled(trials=spec.trials, slots=run.pool.slots)
        for size, table in self.tables.items():
            table.write(table_file(run.directory, size))
        if self.earlier:
            self._say(take_over(self.earlier, run.ledger, self.space, spec, self.estimate))
        run.begin(self.recorded | {"sampler": sampler.model_dump(mode="json")}, seed=spec.seed)
        return sampler

    def _train(self, sampler: SamplerOptions, run: Run) -> str | None:
        """Search in a run's directory, to the end; why it ended early, if it did."""
        spec, objectives = self.spec, self.objectives
        searcher = Searcher(
            self.space,
            spec.budget,
            self.estimate,
            make_sampler(sampler, self.space, objectives, seed=spec.seed),
            make_scheduler(spec.scheduler, spec.training.epochs),
            run.ledger,
            objectives=objectives,
            trials=spec.trials,
            seed=spec.seed,
            lag=sampler.lag or 0,
            on_event=self.on_event,
            repeat=spec.repeat,
        )
        listener = self.on_event
        if spec.keep == "front":
            listener = _both(WeightRetention(run.ledger, objectives, repeat=spec.repeat), listener)
        name = run.directory.name
        if name == BASELINE:
            name = f"{run.directory.parent.name}-{BASELINE}"
        work = TrainJob(spec.task, device=run.pool.device, threads=run.pool.cpu)
        with study_of(run.ledger, spec.study, name, self.space, spec.objectives, listener) as told:
            run.train(searcher, work, told)
        return searcher.message

    def _write_front(self, examiner: Examiner | None) -> pd.DataFrame:
        """examiner: None after an interruption, when nothing is measured."""
        run = self.run
        return write_front(
            run.directory, run.ledger.table(), self.objectives, budget=self.spec.budget, examiner=examiner
        )

    def _say(self, text: str) -> None:
        self.on_event(Event("message", data={"text": text}))


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
