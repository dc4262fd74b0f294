"""A job and its outcome: what the engine is asked to train, and what came of it. Both are small JSON files.

A trial directory is the durable truth about one trial (nas/engine/ledger.py lists its files):
    trial.json    `Job`, written by the driver before anything runs
    rungs.json    epochs -> `Outcome` (paused) of a training that stops on the way (nas/search/halving.py), if any
    result.json   `Outcome`, written last; a directory without it is a trial that is running, or was when all was lost
Workers read the job from its directory, so that what is trained is what is written down.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nas.errors import RunError
from nas.files import write_json

if TYPE_CHECKING:
    from nas.genome import Genome

State = Literal["complete", "paused", "pruned", "infeasible", "failed"]


def now() -> str:
    """The time of day in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Job:
    """One genome to train with one seed in one directory.

    macs, params, throughput: what is known before training (None: not asked for, or no such model can be built).
    note: what the client (a search, an ablation) wants to find again when it reads the ledger.
    until: stop after this epoch, in the state `paused`; None: go to the end. An order of the moment, not written down.
    """

    number: int
    seed: int
    hash: str
    parameters: dict[str, Any]
    macs: int | None = None
    params: int | None = None
    throughput: float | None = None
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
        return cls(**_read(directory / "trial.json"), directory=directory)

    def write(self, directory: Path) -> None:
        content = asdict(self)
        del content["directory"], content["until"]
        write_json(directory / "trial.json", content)


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, or where it paused. `accuracy` is a fraction on the validation split.

    `reason` says why it is not complete. `paused` is never the state of result.json: such a trial has not ended.
    """

    state: State
    accuracy: float | None = None
    epochs: int = 0
    macs: int | None = None
    params: int | None = None
    throughput: float | None = None
    seconds: float = 0.0
    reason: str | None = None
    finished: str = field(default_factory=now)

    @classmethod
    def of(cls, job: Job, state: State, **found: Any) -> Outcome:
        """An outcome that carries the cost that was known of the job."""
        return cls(state, macs=job.macs, params=job.params, throughput=job.throughput, **found)

    @classmethod
    def read(cls, directory: Path) -> Outcome | None:
        """None where the trial has not ended. Raises RunError if result.json is damaged."""
        path = directory / "result.json"
        return cls(**_read(path)) if path.exists() else None

    def write(self, directory: Path) -> None:
        """To result.json; a pause is added to rungs.json."""
        if self.state != "paused":
            write_json(directory / "result.json", asdict(self))
            return
        pauses = {str(epochs): asdict(pause) for epochs, pause in read_rungs(directory).items()}
        write_json(directory / "rungs.json", pauses | {str(self.epochs): asdict(self)})


def read_rungs(directory: Path) -> dict[int, Outcome]:
    """Where a trial has paused, by epochs. Raises RunError if rungs.json is damaged."""
    path = directory / "rungs.json"
    return {int(epochs): Outcome(**pause) for epochs, pause in _read(path).items()} if path.exists() else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        assert isinstance(content, dict)
        return content
    except (OSError, ValueError, AssertionError) as error:
        raise RunError(f"damaged; delete its directory to train this genome again ({error})", file=path) from None
