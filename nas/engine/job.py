"""A job and its outcome: what the engine is asked to train, and what came of it. Both are small JSON files.

A trial directory is the durable truth about one trial (nas/engine/ledger.py lists its files):
    trial.json    `Job`, written by the driver before anything runs
    rungs.json    epochs -> `Outcome` (paused) of a training that a scheduler stops on the way, if any
    result.json   `Outcome`, written last; a directory without it is a trial that is running, or was when all was lost
Workers read the job from its directory, so that what is trained is what is written down.
In the files, costs stand beside the other keys (`"macs": 722080`), and a number under any other key is a cost.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from nas.engine.version import VERSION, check_version
from nas.errors import RunError
from nas.files import write_json

if TYPE_CHECKING:
    from nas.genome import Genome

State = Literal["complete", "paused", "pruned", "infeasible", "failed"]
PUBLIC_COSTS = ("macs", "params", "throughput")  # costs that all files and tables have a place for, known or not


def now() -> str:
    """The time of day in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Job:
    """One genome to train with one seed in one directory.

    costs: by metric, what is known before training; empty where no such model can be built.
    note: what the client (a search, an ablation) wants to find again when it reads the ledger.
    until: stop after this epoch, in the state `paused`; None: go to the end. An order of the moment, not written down.
    """

    number: int
    seed: int
    hash: str
    parameters: dict[str, Any]
    costs: dict[str, float] = field(default_factory=dict)
    note: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=now)
    directory: Path = Path()
    until: int | None = None

    @property
    def id(self) -> str:
        return f"{self.number:04d}"

    @property
    def genome(self) -> Genome:
        from nas.genome import load_genome  # with torch, which the ledger alone does not need

        return load_genome(self.directory / "genome.yaml")

    @classmethod
    def read(cls, directory: Path) -> Job:
        """Raises RunError if trial.json is damaged."""
        return replace(_from_flat(cls, _read(directory / "trial.json")), directory=directory)

    def write(self, directory: Path) -> None:
        content = {"version": VERSION} | _flat(self)
        del content["directory"], content["until"]
        write_json(directory / "trial.json", content)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, or where it paused. `accuracy` is a fraction on the validation split, `costs` the job's.

    `reason` says why it is not complete. `paused` is never the state of result.json: such a trial has not ended.
    """

    state: State
    accuracy: float | None = None
    epochs: int = 0
    costs: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str | None = None
    finished: str = field(default_factory=now)

    @classmethod
    def of(cls, job: Job, state: State, **found: Any) -> Outcome:
        """An outcome that carries the costs that were known of the job."""
        return cls(state, costs=job.costs, **found)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Outcome:
        """The outcome of which this is `as_dict()`."""
        return _from_flat(cls, content)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in result.json and in events: each cost under its metric's name."""
        return _flat(self)

    def value(self, metric: str) -> float | None:
        """The accuracy or a cost; None if it is not known.

        >>> Outcome("complete", accuracy=0.9, costs={"macs": 722080}).value("macs")
        722080
        """
        return self.accuracy if metric == "accuracy" else self.costs.get(metric)

    @classmethod
    def read(cls, directory: Path) -> Outcome | None:
        """None where the trial has not ended. Raises RunError if result.json is damaged."""
        path = directory / "result.json"
        return cls.from_dict(_read(path)) if path.exists() else None

    def write(self, directory: Path) -> None:
        """To result.json; a pause is added to rungs.json."""
        if self.state != "paused":
            write_json(directory / "result.json", {"version": VERSION} | self.as_dict())
            return
        pauses = {str(epochs): pause.as_dict() for epochs, pause in read_rungs(directory).items()}
        write_json(directory / "rungs.json", pauses | {str(self.epochs): self.as_dict()})


def read_rungs(directory: Path) -> dict[int, Outcome]:
    """Where a trial has paused, by epochs. Raises RunError if rungs.json is damaged."""
    path = directory / "rungs.json"
    return {int(epochs): Outcome.from_dict(pause) for epochs, pause in _read(path).items()} if path.exists() else {}


R = TypeVar("R", Job, Outcome)


def _flat(record: Job | Outcome) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for each in fields(record):
        value = getattr(record, each.name)
        content |= dict.fromkeys(PUBLIC_COSTS) | value if each.name == "costs" else {each.name: value}
    return content


def _from_flat(cls: type[R], content: dict[str, Any]) -> R:
    own = {each.name for each in fields(cls)} - {"costs"}
    costs = {
        name: value
        for name, value in content.items()
        if name not in own and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    return cls(**{name: value for name, value in content.items() if name in own}, costs=costs)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        assert isinstance(content, dict)
    except (OSError, ValueError, AssertionError) as error:
        raise RunError(f"damaged; delete its directory to train this genome again ({error})", file=path) from None
    check_version(content, path)
    content.pop("version", None)
    return content
