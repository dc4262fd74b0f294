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
import torch

from nas.data import ImageSet, load
from nas.engine import Event, Ledger, OnEvent, Pool, session
from nas.engine.events import ignore
from nas.engine.record import check_same, read_record, update_record, write_record
from nas.engine.storage import Storage
from nas.engine.training import TrainJob
from nas.errors import SpecError
from nas.files import write_atomically
from nas.metrics.estimate import Estimate, estimator
from nas.search.anytime import BASELINE, anytime
from nas.search.budget import check_feasible
from nas.search.follower import followed
from nas.search.halving import Ladder
from nas.search.keeping import Keeper
from nas.search.sampler import make_sampler
from nas.search.searcher import Searcher
from nas.search.space import SearchSpace
from nas.search.spec import SamplerSpec, SearchSpec
from nas.search.timings import table_file, timings
from nas.search.warm_start import earlier_runs, take_over
from nas.search.winners import Exam, write_front
from nas.seeds import derive

FREE = {"trials", "workers", "notes", "name", "baseline", "study", "storage"}  # what may differ when a run is continued


@dataclass(frozen=True)
class SearchResult:
    """What a search leaves behind: the tables of trials.csv and front.csv, and why it ended early if it did."""

    directory: Path
    trials: pd.DataFrame
    front: pd.DataFrame
    message: str | None = None


def search(space: SearchSpec, directory: Path, *, on_event: OnEvent = ignore) -> SearchResult:
    """Run or resume a search in a run directory.

    Raises SpecError (SpaceError, GenomeError, DataError, BudgetError, RunError) for what the user can mend, before
    anything is written. After KeyboardInterrupt, trials.csv, front.csv and winners/ show the state so far.

    >>> search(load_space("lavit_split").with_settings(["trials=4"]), Path("results/try")).front
    """
    directory = Path(directory).resolve()
    storage = Storage.of(space.storage, directory)
    if storage is not None:
        storage.restore_files(directory)
    record = read_record(directory)
    domain, spec, images = resolve(space)
    if record is not None:
        given = {key: value for key, value in spec["sampler"].items() if value is not None}
        spec["sampler"] = record["spec"].get("sampler", {}) | given
        check_same(record, "search", spec, free=FREE, directory=directory)
    earlier = earlier_runs(space.warm_start, spec) if record is None else []
    seed, device = derive(space.seed, "latency"), _device(space)
    tables = timings(space.costs, domain, directory, seed=seed, device=device, on_event=on_event)
    estimate = estimator(space.costs, tables)
    check_feasible(domain, space.budget, estimate, seed=derive(space.seed, "probe"))

    objectives = list(space.objectives)
    ledger = Ledger(directory, storage)
    with ledger.locked():
        for size, table in tables.items():
            table.write(table_file(directory, size))
        try:
            with session(space.workers) as pool:
                sampler_spec = _settled(SamplerSpec(**spec["sampler"]), space.trials, pool)
                spec["sampler"] = sampler_spec.model_dump(mode="json")
                if earlier:
                    text = take_over(earlier, ledger, domain, space, estimate)
                    on_event(Event("message", data={"text": text}))
                if record is None:
                    write_record(directory, kind="search", seed=space.seed, spec=spec)
                else:
                    update_record(directory, spec, free=FREE)
                if storage is not None:
                    storage.save_files(directory)
                work = TrainJob(spec["data"], space.training, space.seed, device=pool.device, threads=pool.cpu)
                party = _Party(space, domain, estimate, work, pool, on_event)
                message = party.run(ledger, sampler_spec)
                if space.baseline:
                    on_event(Event("message", data={"text": f"the baseline: {space.trials} trials drawn at random"}))
                    beside = Ledger(directory / BASELINE, storage.within(BASELINE) if storage else None)
                    with beside.locked():
                        party.run(beside, sampler_spec.model_copy(update={"name": space.baseline}))
        except KeyboardInterrupt:
            if ledger.trials:
                write_front(directory, ledger.table(), objectives, budget=space.budget, exam=None)
            raise
        reached = anytime(directory, objectives)
        write_atomically(directory / "hypervolume.csv", lambda path: reached.to_csv(path, index=False))
        on_event(Event("message", data={"text": "measuring the winners, with nothing else running"}))
        exam = Exam(directory, images.test, device)
        front = write_front(directory, ledger.table(), objectives, budget=space.budget, exam=exam)
        if storage is not None:
            storage.save_files(directory)
    return SearchResult(directory, ledger.table(), front, message or _failure(ledger))


@dataclass(frozen=True)
class _Party:
    """What a search and its baseline have in common."""

    space: SearchSpec
    domain: SearchSpace
    estimate: Estimate
    work: TrainJob
    pool: Pool
    on_event: OnEvent

    def run(self, ledger: Ledger, sampler: SamplerSpec) -> str | None:
        """Search in a ledger's directory, to the end; why it ended early, if it did."""
        from nas.engine import run  # brings in Ray Tune

        space, objectives = self.space, list(self.space.objectives)
        candidates = Searcher(
            self.domain,
            space.budget,
            self.estimate,
            make_sampler(sampler, self.domain, objectives, seed=space.seed),
            ledger,
            objectives=objectives,
            trials=space.trials,
            seed=space.seed,
            lag=sampler.lag or 0,
            on_event=self.on_event,
            repeat=space.repeat,
            ladder=ladder_of(space),
        )
        listener = self.on_event
        if space.keep == "front":
            listener = _both(Keeper(ledger, objectives, repeat=space.repeat), listener)
        name = ledger.directory.name
        if name == BASELINE:
            name = f"{ledger.directory.parent.name}-{BASELINE}"
        with followed(listener, ledger, space.study, name, self.domain, space.objectives) as told:
            run(candidates, ledger, work=self.work, pool=self.pool, on_event=told)
        return candidates.message


def ladder_of(space: SearchSpec) -> Ladder | None:
    """The rungs of a space with `halving:`."""
    halving = space.halving
    return Ladder(halving.rungs(space.training.epochs), halving.factor) if halving else None


def _both(first: OnEvent, second: OnEvent) -> OnEvent:
    def on_event(event: Event) -> None:
        first(event)
        second(event)

    return on_event


def resolve(space: SearchSpec) -> tuple[SearchSpace, dict[str, Any], ImageSet]:
    """The domain of a space once its data is looked at, the spec that run.yaml keeps, and the data.

    The base genome takes the dataset's image size, channels and classes, so that any space runs on any data.
    """
    base, training = space.genome(), space.training
    source = _absolute(space.data)
    images = load(source, size=space.image_size, validation=training.validation, seed=space.seed, limit=training.limit)
    size = {"image.size": images.size, "image.channels": images.channels, "classes": len(images.classes)}
    try:
        base = base.edit(size)
    except SpecError as error:
        raise error.within(file=f"{space.name} on {images.name}", path="base") from None
    spec = space.model_dump(mode="json")
    spec["base"] = base.model_dump(mode="json", exclude_defaults=True)
    for path, parameter in space.parameters.items():
        spec["parameters"][path] = parameter.model_dump(mode="json", exclude_defaults=True)
    spec["data"] = source
    return space.space(base), spec, images


def _failure(ledger: Ledger) -> str | None:
    """Why nothing was found, if no trial completed."""
    ended = [trial.outcome for trial in ledger.trials if trial.outcome is not None]
    if any(outcome.state == "complete" for outcome in ended):
        return None
    reasons = [outcome.reason for outcome in ended if outcome.state == "failed"]
    return f"no trial completed; the first failure was: {reasons[0]}" if reasons else "no trial completed"


def _absolute(source: str) -> str:
    """`parquet:../data` as a path that means the same in every process and on a later day."""
    kind, colon, path = source.partition(":")
    return f"{kind}:{Path(path).resolve()}" if colon else source


def _settled(spec: SamplerSpec, trials: int, pool: Pool) -> SamplerSpec:
    """The sampler's numbers, filled in once for the life of the run."""
    population = spec.population or min(50, max(8, trials // 5))
    lag = 2 * pool.slots if spec.lag is None else spec.lag
    return spec.model_copy(update={"population": population, "lag": lag})


def _device(space: SearchSpec) -> str:
    """Where time is measured: in the driver's process, on a GPU if workers would use one."""
    return "cuda" if torch.cuda.is_available() and space.workers.gpu != 0 else "cpu"
