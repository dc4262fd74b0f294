"""A job (what to train) and its outcome. Both are stored as small JSON files.

A trial directory is the only durable record of a trial (nas/engine/ledger.py lists its files):
    trial.json    `Job`, written by the driver before training
    rungs.json    epochs -> `Outcome` (paused), if a scheduler paused the training
    result.json   `Outcome`, written last; without it, the trial is running or was interrupted
What the files say of each other, nas/engine/digests.py reads and checks.
Workers read the job from its directory, so a trial is trained exactly as recorded.
In the files, costs are top-level keys (`"macs": 722080`): a number under any unknown key is a cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from nas.engine.digests import (
    DAMAGED,
    TRIAL_SEAL,
    check_metrics,
    check_seal,
    check_trial,
    digests_of,
    read_mapping,
    seal_of,
)
from nas.engine.version import VERSION
from nas.errors import RunError, shown, wording
from nas.files import SEAL, is_altered, write_sealed

if TYPE_CHECKING:
    from nas.genome import Genome

State = Literal["complete", "paused", "pruned", "infeasible", "failed"]
Count = Annotated[int, Field(strict=True, ge=0, lt=2**63)]  # what a table's column holds
Fraction = Annotated[float, Field(strict=True, ge=0, le=1)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Cost = Count | Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
PUBLIC_COSTS = ("macs", "params", "throughput")  # costs that are in all files and tables, known or not


def now() -> str:
    """The current time in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, slots=True)
class Job:
    """One genome to train with one seed in one directory.

    costs: by metric, known before training; empty if the model cannot be built.
    note: the client's own data (a search's, an ablation's), read back from the ledger.
    run: id of the run that it belongs to (nas/engine/record.py); trials of earlier versions have none.
    until: pause after this epoch; None: train to the end. seal: of the trial.json that it was read from. The directory
        and these two are not serialised.
    """

    number: Count
    seed: Count
    hash: str
    parameters: dict[str, Any]
    costs: dict[str, Cost] = field(default_factory=dict)
    note: dict[str, Any] = field(default_factory=dict)
    run: str | None = None
    created: str = field(default_factory=now)
    directory: Path = Path()
    until: int | None = None
    seal: str | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        return f"{self.number:04d}"

    @property
    def genome(self) -> Genome:
        """Raises RunError if genome.yaml does not match the job's hash."""
        from nas.genome import load_genome  # imports torch, which the ledger does not need

        file = self.directory / "genome.yaml"
        genome = load_genome(file)
        if genome.hash != self.hash:
            raise RunError(f"not this trial's genome: its hash is {genome.hash}, trial.json has {self.hash}", file=file)
        return genome

    @classmethod
    def read(cls, directory: Path) -> Job:
        """Raises RunError if trial.json is damaged, or belongs to another directory."""
        file = directory / "trial.json"
        content = read_mapping(file)
        job = replace(_from_flat(cls, content, file), directory=directory, seal=content.get(SEAL))
        if job.id != directory.name and is_trial(directory):
            raise RunError(f"it belongs to trial {job.id}; put it back, or delete this directory", file=file)
        if job.hash and not job.costs.keys() >= {"macs", "params"}:  # recomputed
            from nas.metrics import estimator

            job = replace(job, costs=estimator()(job.genome) | job.costs)
        check_seal(content, _public(job.costs), file)
        return job

    def write(self, directory: Path) -> None:
        content = {"version": VERSION} | _flat(self)
        del content["directory"], content["until"], content["seal"]
        write_sealed(directory / "trial.json", content)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a trial, or of a pause. `accuracy` is a fraction on the validation split, with its
    standard error from the number of images (results of version 0.1 have none), `costs` the job's.

    `reason`: why it is not complete. `paused` is never the state in result.json, since the trial has not ended.
    """

    state: State
    accuracy: Fraction | None = None
    accuracy_se: Fraction | None = None
    epochs: Count = 0
    costs: dict[str, Cost] = field(default_factory=dict)
    seconds: Seconds = 0.0
    reason: str | None = None
    finished: str = field(default_factory=now)

    @classmethod
    def of(cls, job: Job, state: State, **found: Any) -> Outcome:
        """An outcome with the job's costs."""
        return cls(state, costs=job.costs, **found)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Outcome:
        """The inverse of `as_dict`."""
        return _from_flat(cls, content, None)

    def as_dict(self) -> dict[str, Any]:
        """As in result.json and in events: each cost under its metric's name."""
        return _flat(self)

    def value(self, metric: str) -> float | None:
        """The accuracy or a cost; None if it is not known.

        >>> Outcome("complete", accuracy=0.9, costs={"macs": 722080}).value("macs")
        722080
        """
        return self.accuracy if metric == "accuracy" else self.costs.get(metric)

    @classmethod
    def read(cls, directory: Path, job: Job | None = None) -> Outcome | None:
        """None if the trial has not ended. Raises RunError if result.json is damaged, or of another trial.

        job: the trial's, where it has been read already.
        """
        path = directory / "result.json"
        if not path.exists():
            return None
        content = read_mapping(path)
        outcome = _from_flat(cls, content, path)
        altered = is_altered(content)
        if altered or content.get(TRIAL_SEAL) is not None:
            job = job or Job.read(directory)
            if altered:
                check_seal(content, _public(job.costs), path)
            check_trial(content, job.seal, path)
        if outcome.state == "complete":  # others may be trained further
            check_metrics(content, directory)
        return outcome

    def write(self, directory: Path) -> None:
        """Write result.json; a pause is added to rungs.json."""
        if self.state != "paused":
            content = {"version": VERSION} | self.as_dict() | digests_of(directory)
            write_sealed(directory / "result.json", content)
            return
        pauses = {str(epochs): pause.as_dict() for epochs, pause in read_rungs(directory).items()}
        pauses[str(self.epochs)] = self.as_dict()
        write_sealed(directory / "rungs.json", pauses | {TRIAL_SEAL: seal_of(directory)})


def read_rungs(directory: Path, job: Job | None = None) -> dict[int, Outcome]:
    """The pauses of a trial, by epochs. Raises RunError for a damaged rungs.json, and for another trial's."""
    path = directory / "rungs.json"
    if not path.exists():
        return {}
    content = read_mapping(path)
    pauses = {key: _from_flat(Outcome, pause, path) for key, pause in content.items() if key not in (SEAL, TRIAL_SEAL)}
    if any(epochs != str(pause.epochs) or pause.state != "paused" for epochs, pause in pauses.items()):
        raise RunError(DAMAGED.format("a pause is not under its number of epochs"), file=path)
    check_seal(content, {}, path)
    check_trial(content, (job or Job.read(directory)).seal, path)
    return {int(epochs): pause for epochs, pause in pauses.items()}


def is_trial(directory: Path) -> bool:
    """Whether a directory in trials/ is named like a trial: `0007`, not `7` or `0007.bak`."""
    name = directory.name
    return name.isascii() and name.isdigit() and name == f"{int(name):04d}" and directory.is_dir()


R = TypeVar("R", Job, Outcome)


def _public(costs: Mapping[str, Cost]) -> dict[str, Cost | None]:
    return {name: costs.get(name) for name in PUBLIC_COSTS}


def _flat(record: Job | Outcome) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for each in fields(record):
        value = getattr(record, each.name)
        content |= dict.fromkeys(PUBLIC_COSTS) | value if each.name == "costs" else {each.name: value}
    return content


def _from_flat(cls: type[R], content: Any, file: Path | None) -> R:
    """Raises RunError, naming the key, for an invalid value."""
    if not isinstance(content, dict):
        raise RunError(DAMAGED.format(f"expected a mapping, found {shown(content)}"), file=file)
    own = _OWN[cls]
    costs = {
        name: value
        for name, value in content.items()
        if name not in own and name != "version" and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    given = {name: value for name, value in content.items() if name in own}
    try:
        read: R = _READERS[cls].validate_python(given | {"costs": costs})
        return read
    except ValidationError as error:
        raise _explained(error, file) from None


def _explained(error: ValidationError, file: Path | None) -> RunError:
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"][:2]))  # further parts are the members of a union
    return RunError(DAMAGED.format(wording(first)), file=file, path=path)


_OWN = {cls: {each.name for each in fields(cls)} - {"costs"} for cls in (Job, Outcome)}
_READERS: dict[Any, TypeAdapter[Any]] = {cls: TypeAdapter(cls) for cls in (Job, Outcome)}
