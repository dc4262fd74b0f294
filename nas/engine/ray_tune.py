"""Runs jobs with Ray Tune. A client (`JobSource`) issues the jobs one by one and receives their outcomes.

Tune starts worker processes, reuses them for the next job (`reuse_actors`: 30 ms a trial instead of seconds), detects
crashes and retries the trial once on another worker. If the retry crashes as well, after at least one further epoch,
the job is queued again: lost machines do not count against a trial, and a deterministic crash recurs at the same epoch.
A trial that ran out of memory on a shared GPU is rerun exclusively, once all workers are idle and the source has no job
to issue (for now or for good); it does not hold up other trials.
A trial that exceeds its limits (nas/engine/limits.py) is ended by killing its worker. A stall counts as that worker's
death and is retried like one. A trial over another limit is recorded as failed once its worker is gone; Tune's retry
then finds the outcome and ends.
Other features of Tune are not used:
- Its searchers and schedulers: the source issues all jobs, and no scheduler can stop a job and report it as complete.
  A source that trains in steps issues the same directory again with a later `until`.
- Its state: every run starts a new Tuner in `<run>/.ray` (deleted afterwards). Jobs that an earlier session left
  unfinished are issued first, and resume from their checkpoints.
Plug-ins are sent to the workers with the trainable (nas/plugins.py). A worker that cannot load a plug-in or use the run
directory stops the run; no trial is marked as failed.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial as RayTrial
from ray.tune.search import Searcher

from nas.engine.driver import RETRIES, Driver
from nas.engine.events import OnEvent, ignore
from nas.engine.job import Job
from nas.engine.ledger import Ledger
from nas.engine.limits import Limits
from nas.engine.parcel import Parcel
from nas.engine.pool import Pool, Recent
from nas.engine.source import JobSource, Signal
from nas.engine.storage import Storage
from nas.engine.worker import Work
from nas.environment import restored
from nas.errors import RunError

SHARED = "Machines need a common file system, or a `storage:` (docs/cluster.md)"


def run(
    source: JobSource,
    ledger: Ledger,
    *,
    work: Work,
    pool: Pool,
    limits: Limits = Limits(),
    on_event: OnEvent = ignore,
) -> None:
    """Train the ledger's unfinished jobs, then the source's, until it is done.

    Call inside `session(...)` and `ledger.locked()`. `work` runs in worker processes, on the pool's device.
    Raises RunError if the run directory cannot be written or a worker cannot use a plug-in, SpecError for a plug-in
    that is not a file, and whatever the source raises. Unfinished trials are resumable after KeyboardInterrupt.

    >>> with ledger.locked(), session(Workers()) as pool:
    ...     run(source, ledger, work=TrainJob("digits", Training(), seed=0), pool=pool)
    """
    scratch = ledger.directory / ".ray"
    shutil.rmtree(scratch, ignore_errors=True)
    driver = Driver(source, ledger, on_event, limits)
    trainable = tune.with_parameters(
        _trainable(),
        folder=ledger.folder,
        storage=ledger.storage,
        work=Parcel.of(work),
        limits=limits,
        shared=0 < pool.gpu < 1,
    )
    tuner = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory(pool.bundles)),
        tune_config=tune.TuneConfig(
            search_alg=_Jobs(driver, Recent(pool.slots_now)),
            num_samples=-1,
            reuse_actors=True,
            trial_name_creator=lambda trial: trial.config["trial"],
            trial_dirname_creator=lambda trial: "-".join(map(str, trial.config.values())),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch),
            verbose=0,
            callbacks=[_Watch(driver)],
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    try:
        with _tamed(pool.slots):
            tuner.fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        driver.guarded(ledger.write_table)
    if driver.error is not None:
        raise driver.error
    if not driver.at_end:
        raise RunError("Ray Tune has stopped before the work was done; the same command resumes", file=ledger.directory)


@contextmanager
def _tamed(slots: int) -> Iterator[None]:
    """Tune without what it does beside a run, until the end of the block. slots: workers that are started at once.

    - It takes SIGUSR1 for a wish to end early, and ends as if all were done. The signal is an interrupt as others are.
    - It counts kinds of callbacks for its usage statistics, which are off, and for that imports every tracker that is
      installed: mlflow takes 40 MB and a second.
    """
    from ray.air._internal import usage
    from ray.tune import tune as theirs

    log = logging.getLogger("ray.tune")
    level, counted, caught = log.level, usage.tag_callbacks, theirs._setup_signal_catching
    with restored("TUNE_MAX_PENDING_TRIALS_PG"):
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(slots)
        log.setLevel(logging.CRITICAL)
        usage.tag_callbacks = lambda callbacks: False
        theirs._setup_signal_catching = threading.Event
        try:
            yield
        finally:
            log.setLevel(level)
            usage.tag_callbacks, theirs._setup_signal_catching = counted, caught


def _trainable() -> Callable[..., None]:
    """The function that a worker process runs: trains one job and reports its outcome.

    It is pickled by value and imports torch in the first trial, so all workers start within a second. If starting took
    longer than a trial, Tune would give every trial to the first worker and leave the others unused.
    """

    def train(
        config: dict[str, Any],
        *,
        folder: Path,
        storage: Storage | None,
        work: Parcel[Work],
        limits: Limits,
        shared: bool,
    ) -> None:
        import socket
        from dataclasses import replace

        from nas.engine.job import Job
        from nas.engine.limits import Pulse
        from nas.engine.worker import CrowdedError, StorageError, run_job, workplace
        from nas.heartbeat import heard_by

        neighbours = shared and not config["alone"]
        pulse = Pulse(limits, lambda memory: tune.report({"alive": memory}))
        try:
            do = work.open()
            with workplace(folder, storage, config["trial"]) as (directory, keep):

                def report(row: dict[str, Any] | None) -> None:
                    keep(False)
                    tune.report({"row": row} if row is not None else {"saved": True})

                try:
                    job = replace(Job.read(directory), until=config["until"])
                except RunError as error:
                    raise StorageError(f"{socket.gethostname()} cannot read {directory}: {error}. {SHARED}") from error
                with heard_by(pulse):
                    outcome = run_job(job, do, report, neighbours=neighbours)
                keep(True)
        except (StorageError, RunError) as error:  # the run directory or a plug-in cannot be used
            tune.report({"unusable": str(error)})
        except CrowdedError as error:
            tune.report({"crowded": str(error)})
        else:
            tune.report({"outcome": outcome.as_dict()})

    return train


class _Jobs(Searcher):
    """Tune's search algorithm: its configurations are ids of trial directories.

    A worker is free once Tune has ended its trial, which is some time after its outcome was reported. If the next job
    were issued before, Tune would request resources for a new worker, and withdraw the request when it reuses the old
    one. Ray can lose the resources of a request that is withdrawn while they are being reserved (ray#64693): until the
    session ends, or on a cluster for good.
    """

    def __init__(self, driver: Driver, slots: Callable[[], int]):
        super().__init__()
        self._driver, self._slots = driver, slots
        self._issued: set[str] = set()  # Tune's trials that have not ended

    def suggest(self, trial_id: str) -> Any:
        if len(self._issued) >= self._slots() and self._driver.error is None:
            return None
        job = self._driver.guarded(self._driver.next)
        if isinstance(job, Job):
            self._issued.add(trial_id)
            return {"trial": job.id, "until": job.until, "alone": job.id == self._driver.alone}
        return Searcher.FINISHED if job is Signal.DONE else None

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Its worker is free. What became of the trial is told to the callback below."""
        self._issued.discard(trial_id)


class _Watch(tune.Callback):
    """Forwards Tune's callbacks to the driver."""

    def __init__(self, driver: Driver):
        self._driver = driver
        self._started: dict[str, RayTrial] = {}  # Tune's latest trial of each of ours

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()  # as the driver does

    def on_step_end(self, iteration: int, trials: list[RayTrial], **info: Any) -> None:
        self._driver.guarded(self._driver.check_limits, self._kill)

    def _kill(self, trial: str) -> None:
        """Ray ends the process at once, or after 5 s where it cannot be reached, as one stopped by a signal."""
        actor = self._started[trial].temporary_state.ray_actor
        assert actor is not None  # it has one from on_trial_start until on_trial_recover or on_trial_error
        ray.kill(actor)

    def on_trial_start(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        self._started[trial.config["trial"]] = trial
        self._driver.guarded(self._driver.started, trial.config["trial"])

    def on_trial_result(
        self, iteration: int, trials: list[RayTrial], trial: RayTrial, result: dict[str, Any], **info: Any
    ) -> None:
        self._driver.guarded(self._driver.reported, trial.config["trial"], result)

    def on_trial_recover(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        self._driver.guarded(self._driver.retried, trial.config["trial"])

    def on_trial_error(self, iteration: int, trials: list[RayTrial], trial: RayTrial, **info: Any) -> None:
        self._driver.guarded(self._driver.died, trial.config["trial"], str(trial.get_error() or "no message"))
