"""The run as an Optuna study in a database, for optuna-dashboard, during the run and afterwards.

The ledger is authoritative and the study is derived from it: each ended trial is added once, under its number in the
run, and identified by its attributes. Trials missing after a kill, a server failure or a deleted database are added at
the next start. The search never reads the study.

    complete            COMPLETE, with its objectives
    pruned              PRUNED
    failed, infeasible  FAIL, with the reason. Not COMPLETE: a refused genome was never trained, and placeholder values
                        would appear in every plot. Its violation is the constraint `budget`.

A locked or unreachable database responds only after many seconds. So a separate thread writes the study, all trials
that have ended since its last write in one transaction (at most `BATCH`). Its errors do not stop the search: the first
is reported as a message, writing is retried every minute, and trials still missing at the end are added at the next
start.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any

import optuna  # early: where redis is missing it keeps the frames that import it; those of a search hold all trials
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from nas.credentials import has_credentials, masked
from nas.engine import Event, Job, Ledger, OnEvent, Trial
from nas.errors import RunError, SpaceError, nearest, shown
from nas.files import no_link
from nas.search.parameter import Parameter, label
from nas.search.study_rows import add_trials, attributes_of

if TYPE_CHECKING:
    from nas.search.space import SearchSpace

RETRY = 60.0  # seconds between an error and the next attempt
FLUSH_SECONDS = 60.0  # seconds to wait for the last trials at the end of a search
BATCH = 500  # trials that are written in one transaction
STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "infeasible": "FAIL"}
KEY = ("trial", "state", "epochs", "finished")  # attributes that identify a trial
ATTRIBUTES = (*KEY, "hash", "seed", "seconds", "reason")  # in addition to the costs
POSTGRES = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "options": "-c lock_timeout=5000"}


def check_url(url: str) -> str:
    """A database URL in SQLAlchemy's form. Raises SpaceError if it cannot be used or contains a password.

    >>> check_url("postgresql://me@db.example.org/nas")
    'postgresql+psycopg://me@db.example.org/nas'
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    if has_credentials(url):
        raise SpaceError("run.yaml keeps this URL: leave the password to ~/.pgpass or the environment's PGPASSWORD")
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        found = "a text with an @, which may hold a password" if "@" in url else shown(url)
        raise SpaceError(f"expected sqlite:///FILE or postgresql://USER@HOST/DATABASE, found {found}") from None
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise SpaceError(f"no database {shown(kind)}; {nearest(kind, ('sqlite', 'postgresql'))}")
    if kind == "sqlite":
        return url
    try:
        import psycopg  # noqa: F401  (SQLAlchemy would say so too, in the middle of a search)
    except ImportError:
        raise SpaceError("PostgreSQL needs a driver: pip install 'nas-vit[postgres]'") from None
    return parsed.set(drivername="postgresql+psycopg").render_as_string()


@contextmanager
def study_of(
    ledger: Ledger, url: str | None, name: str, space: SearchSpace, objectives: dict[str, str], on_event: OnEvent
) -> Iterator[OnEvent]:
    """`on_event`, extended to update the study. url: as in a space: a URL, null for a file, or off.

    >>> with study_of(ledger, space.study, "my_run", space, space.objectives, on_event) as on_event:
    ...     run(searcher, ledger, work=work, pool=pool, on_event=on_event)
    """
    if url == "off":
        yield on_event
        return
    checked = f"sqlite:///{no_link(ledger.directory / 'optuna.db')}" if url is None else check_url(url)
    with StudyWriter(ledger, checked, name, space, objectives, on_event) as writer:
        yield writer


class Study:
    """An Optuna study that mirrors a ledger. Errors of the database propagate from every method.

    first: the first job of the run, which distinguishes runs of the same name. Raises RunError if the study belongs to
    another run.
    """

    def __init__(self, url: str, name: str, space: SearchSpace, objectives: dict[str, str], first: Job):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.name, self.objectives = name, objectives
        self.parameters = {p.path: (p, _distribution(p)) for p in space.parameters}
        arguments = {"connect_args": POSTGRES, "pool_pre_ping": True} if url.startswith("postgresql") else {}
        self.storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
        self.study = self._open()
        self.run = f"{first.created} {first.hash} {first.seed}"
        found = attributes_of(self.storage, self.study._study_id, KEY)
        self.known = {tuple(attributes.get(name) for name in KEY) for attributes in found}
        self.renumbered = any(attributes["number"] != attributes.get("trial") for attributes in found)
        owner = self.study.user_attrs.get("run")
        if owner != self.run and (owner is not None or self.known):
            raise RunError(
                f"there is another run's study {shown(name)} in it; choose another RUN, or remove that study:"
                f" optuna delete-study --storage {url} --study-name {name}"
            )
        self._sign()

    def match(self, trials: Iterable[Trial]) -> None:
        """Recreate the study if it has a trial that is not in `trials`, the ended ones of the ledger.

        Such a trial's directory was deleted, or it was trained further; Optuna cannot change an ended trial. Earlier
        versions numbered trials as they ended, and not as the run does: such a study is made anew as well.
        """
        if self.renumbered or not self.known <= {_key(trial) for trial in trials}:
            optuna.delete_study(study_name=self.name, storage=self.storage)
            self.study, self.known = self._open(), set()
            self._sign()

    def add(self, trials: Iterable[Trial]) -> None:
        """Add those of the ended trials that the study does not have, in one transaction."""
        new = {key: trial for trial in trials if (key := _key(trial)) not in self.known}
        if new:
            add_trials(self.storage, self.study._study_id, [self._frozen(trial) for trial in new.values()])
            self.known |= new.keys()

    def _open(self) -> optuna.Study:
        ways: Any = [f"{direction}imize" for direction in self.objectives.values()]
        return optuna.create_study(storage=self.storage, study_name=self.name, directions=ways, load_if_exists=True)

    def _sign(self) -> None:
        self.study.set_user_attr("run", self.run)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the method is marked experimental
            self.study.set_metric_names(list(self.objectives))

    def _frozen(self, trial: Trial) -> optuna.trial.FrozenTrial:
        job, outcome = trial.job, trial.outcome
        assert outcome is not None
        held = {path: v for path, v in job.parameters.items() if path in self.parameters}
        held = {path: v for path, v in held.items() if self.parameters[path][0].holds(v)}
        margin = job.note.get("margin", -1.0)  # -1: there is no budget
        found = outcome.as_dict() | {"trial": job.number, "hash": job.hash, "seed": job.seed}
        frozen = optuna.create_trial(
            state=optuna.trial.TrialState[STATES[outcome.state]],
            values=[found[name] for name in self.objectives] if outcome.state == "complete" else None,
            params={path: v if self.parameters[path][0].numeric else label(v) for path, v in held.items()},
            distributions={path: self.parameters[path][1] for path in held},
            user_attrs={name: found[name] for name in (*ATTRIBUTES, *outcome.costs) if found[name] is not None},
            constraints={"budget": margin} if margin > -1 else None,
        )
        end = datetime.fromisoformat(outcome.finished).astimezone().replace(tzinfo=None)  # Optuna uses local time
        frozen.number = job.number
        frozen.datetime_start, frozen.datetime_complete = end - timedelta(seconds=outcome.seconds), end
        return frozen


class StudyWriter:
    """An `on_event` that forwards events and adds each ended trial to the study, in a thread; a context manager.

    url: as `check_url` returns it. name: of the study; runs that share a server need different ones.
    """

    def __init__(
        self, ledger: Ledger, url: str, name: str, space: SearchSpace, objectives: dict[str, str], on_event: OnEvent
    ):
        self.on_event, self.ledger = on_event, ledger
        self.url, self.name, self.space, self.objectives = url, name, space, objectives
        self._ended = self._all_ended()  # trials that the thread has received
        self._queued = {trial.job.number for trial in self._ended}  # and those still in the queue
        self._added = 0  # number of `_ended` written to the study
        self._error: Exception | None = None
        self._reported = False
        self._queue: SimpleQueue[Trial | None] = SimpleQueue()  # ended trials; None: the search has ended
        self._thread = threading.Thread(target=self._write, name="optuna-study", daemon=True)

    def __call__(self, event: Event) -> None:
        self.on_event(event)
        if event.kind in ("ended", "refused"):
            self._enqueue(self.ledger.trial(int(event.trial)))
        self._report_error()

    def __enter__(self) -> StudyWriter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for trial in self._all_ended():  # some end with the search, without an event
            if trial.job.number not in self._queued:
                self._enqueue(trial)
        self._queue.put(None)
        self._thread.join(FLUSH_SECONDS)
        self._report_error()
        missing = len(self._queued) - self._added
        if missing:
            self._say(f"{missing} trials are not in the Optuna study yet; the next start of this run adds them")

    def _all_ended(self) -> list[Trial]:
        return [trial for trial in self.ledger.trials if trial.outcome is not None]

    def _enqueue(self, trial: Trial) -> None:
        self._queued.add(trial.job.number)
        self._queue.put(trial)

    def _report_error(self) -> None:
        """Report the first error, in the driver's thread, as all events are."""
        if self._error is None or self._reported:
            return
        self._reported = True
        error = self._error.__cause__ or self._error  # Optuna wraps the database's error
        reason = masked(str(error).strip().partition("\n")[0]) or type(error).__name__
        self._say(f"the Optuna study at {self.url} cannot be written; the search goes on, and tries again: {reason}")

    def _say(self, text: str) -> None:
        self.on_event(Event("message", data={"text": text}))

    # ------------------------------------------------------------------------------------------------------------------
    # The thread
    # ------------------------------------------------------------------------------------------------------------------
    def _write(self) -> None:
        study: Study | None = None
        next_try, ending = 0.0, False
        while True:
            if self._ended and (ending or time.monotonic() >= next_try):
                try:
                    study = study or self._open()
                    while self._added < len(self._ended):
                        batch = self._ended[self._added : self._added + BATCH]
                        study.add(batch)
                        self._added += len(batch)
                except Exception as error:  # any error of a database
                    study, self._error, next_try = None, error, time.monotonic() + RETRY
            if ending:
                return
            received = [self._queue.get()]
            while not self._queue.empty():  # what has ended during a write is written together
                received.append(self._queue.get())
            ending = received[-1] is None
            self._ended += [trial for trial in received if trial is not None]

    def _open(self) -> Study:
        """The study, without trials that the ledger lacks. All ended trials are then passed to `add` again."""
        first = Job.read(min(self.ledger.folder.glob("[0-9]*")))
        study = Study(self.url, self.name, self.space, self.objectives, first)
        study.match(self._ended)
        self._added = 0
        return study


def _key(trial: Trial) -> tuple[Any, ...]:
    assert trial.outcome is not None
    return trial.job.number, trial.outcome.state, trial.outcome.epochs, trial.outcome.finished


def _distribution(parameter: Parameter) -> Any:
    """The distribution for plots, in the parameter's own units (the samplers' distributions use step indices)."""
    values = parameter.values
    if values is None:
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if not parameter.numeric:
        return CategoricalDistribution([label(value) for value in values])
    step = round(values[1] - values[0], 12) if len(values) > 1 else 1
    if isinstance(values[0], int):
        return IntDistribution(values[0], values[-1], log=parameter.log, step=step)
    return FloatDistribution(values[0], values[-1], step=step)
