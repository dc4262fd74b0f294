"""The run as an Optuna study in a database, so that optuna-dashboard shows it while it goes on and afterwards.

The ledger is the truth and the study is written from it, one way: each ended trial is added once, and known again by
its attributes. What a kill, a lost server or a deleted database took away is added when the run is next started. The
search itself never reads the study.

    complete            COMPLETE, with its objectives
    pruned              PRUNED
    failed, infeasible  FAIL, with the reason. Not COMPLETE: a refused genome was never trained, and values in place of
                        the ones it does not have would stand in every plot. Its violation is the constraint `budget`.

nas/search/follower.py writes it while a search runs.
"""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from nas.engine import Job, Trial
from nas.errors import RunError, SpaceError, nearest
from nas.search.parameter import Parameter, label

if TYPE_CHECKING:
    import optuna

    from nas.search.space import SearchSpace

STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "infeasible": "FAIL"}
KEY = ("trial", "state", "epochs", "finished")  # attributes by which a trial is known again
ATTRIBUTES = (*KEY, "hash", "seed", "seconds", "reason")  # beside the costs
POSTGRES = {"connect_timeout": 5, "tcp_user_timeout": 10_000, "options": "-c lock_timeout=5000"}


def check_url(url: str) -> str:
    """The URL of a database as SQLAlchemy takes it. Raises SpaceError for one that cannot be used or has a password.

    >>> check_url("postgresql://me@db.example.org/nas")
    'postgresql+psycopg://me@db.example.org/nas'
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise SpaceError(f"expected sqlite:///FILE or postgresql://USER@HOST/DATABASE, found {url!r}") from None
    kind = parsed.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise SpaceError(f"no database {kind!r}; {nearest(kind, ('sqlite', 'postgresql'))}")
    if parsed.password is not None:
        raise SpaceError("run.yaml keeps this URL: leave the password to ~/.pgpass or the environment's PGPASSWORD")
    if kind == "sqlite":
        return url
    try:
        import psycopg  # noqa: F401  (SQLAlchemy would say so too, in the middle of a search)
    except ImportError:
        raise SpaceError("PostgreSQL needs a driver: pip install 'nas-vit[postgres]'") from None
    return parsed.set(drivername="postgresql+psycopg").render_as_string()


class Mirror:
    """An Optuna study that holds what a ledger does. Every method raises whatever the database does.

    first: the first job of the run, which tells runs of one name apart. Raises RunError if the study is another run's.
    """

    def __init__(self, url: str, name: str, space: SearchSpace, objectives: dict[str, str], first: Job):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", message=".*set_metric_names is experimental")
        self.name, self.objectives = name, objectives
        self.parameters = {p.path: (p, _distribution(p)) for p in space.parameters}
        arguments = {"connect_args": POSTGRES, "pool_pre_ping": True} if url.startswith("postgresql") else {}
        self.storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
        self.study = self._opened()
        self.run = f"{first.created} {first.hash} {first.seed}"
        self.known = {
            tuple(trial.user_attrs.get(name) for name in KEY) for trial in self.study.get_trials(deepcopy=False)
        }
        owner = self.study.user_attrs.get("run")
        if owner != self.run and (owner is not None or self.known):
            raise RunError(
                f"there is another run's study {name!r} in it; choose another RUN, or remove that study:"
                f" optuna delete-study --storage {url} --study-name {name}"
            )
        self._sign()

    def match(self, trials: list[Trial]) -> None:
        """Begin afresh if the study holds what the ledger, whose ended trials these are, no longer has.

        That is a trial whose directory was deleted, or one that was trained further: Optuna's do not change any more.
        """
        import optuna

        if not self.known <= {_key(trial) for trial in trials}:
            optuna.delete_study(study_name=self.name, storage=self.storage)
            self.study, self.known = self._opened(), set()
            self._sign()

    def add(self, trial: Trial) -> None:
        """Add a trial that has ended, unless the study has it."""
        key = _key(trial)
        if key not in self.known:
            self.study.add_trial(self._told(trial))
            self.known.add(key)

    def _opened(self) -> optuna.Study:
        import optuna

        ways: Any = [f"{direction}imize" for direction in self.objectives.values()]
        return optuna.create_study(storage=self.storage, study_name=self.name, directions=ways, load_if_exists=True)

    def _sign(self) -> None:
        self.study.set_user_attr("run", self.run)
        self.study.set_metric_names(list(self.objectives))

    def _told(self, trial: Trial) -> optuna.trial.FrozenTrial:
        import optuna

        job, outcome = trial.job, trial.outcome
        assert outcome is not None
        held = {path: v for path, v in job.parameters.items() if path in self.parameters}
        held = {path: v for path, v in held.items() if self.parameters[path][0].holds(v)}
        margin = job.note.get("margin", -1.0)  # -1: there is no budget
        found = outcome.as_dict() | {"trial": job.number, "hash": job.hash, "seed": job.seed}
        told = optuna.create_trial(
            state=optuna.trial.TrialState[STATES[outcome.state]],
            values=[found[name] for name in self.objectives] if outcome.state == "complete" else None,
            params={path: v if self.parameters[path][0].numeric else label(v) for path, v in held.items()},
            distributions={path: self.parameters[path][1] for path in held},
            user_attrs={name: found[name] for name in (*ATTRIBUTES, *outcome.costs) if found[name] is not None},
            constraints={"budget": margin} if margin > -1 else None,
        )
        end = datetime.fromisoformat(outcome.finished).astimezone().replace(tzinfo=None)  # Optuna's are local times
        told.datetime_start, told.datetime_complete = end - timedelta(seconds=outcome.seconds), end
        return told


def _key(trial: Trial) -> tuple[Any, ...]:
    assert trial.outcome is not None
    return trial.job.number, trial.outcome.state, trial.outcome.epochs, trial.outcome.finished


def _distribution(parameter: Parameter) -> Any:
    """What a person wants to read off an axis: the numbers themselves (the samplers' own count the steps)."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    values = parameter.values
    if values is None:
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if not parameter.numeric:
        return CategoricalDistribution([label(value) for value in values])
    step = round(values[1] - values[0], 12) if len(values) > 1 else 1
    if isinstance(values[0], int):
        return IntDistribution(values[0], values[-1], log=parameter.log, step=step)
    return FloatDistribution(values[0], values[-1], step=step)
