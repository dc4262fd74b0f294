"""The ledger: a run directory and its trial directories. A run is resumed and reported from these alone.

    results/<run>/
        .lock               held by the driver; the kernel releases it however the driver ends
        trials/0007/
            trial.json      Job: number, seed, hash, parameters, cost
            genome.yaml     the genome (absent if the parameters are invalid)
            metrics.csv     a row per epoch           (training)
            rungs.json      where it paused           (worker, in a search with halving)
            checkpoint.pt, checkpoint.previous.pt     (training, while unfinished)
            weights.safetensors                       (training)
            failure.txt     traceback, if it failed   (worker)
            result.json     Outcome, last and atomic  (worker; driver if none was used, or it died)
        trials.csv          summary table for people and plots; rewritten from the directories

Trial directories and results appear atomically (renamed into place): after a kill at any moment, every trial is either
finished or resumable.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pandas as pd

from nas.engine.digests import AGAIN, DAMAGED
from nas.engine.job import Job, Outcome, is_trial, read_rungs
from nas.engine.lock import check_held, lock
from nas.engine.reading import read_epochs
from nas.engine.record import read_record
from nas.engine.trials_table import trials_table
from nas.errors import RunError
from nas.files import draft_in, put_in_place, regular, write_atomically, write_text
from nas.row_seals import write_sealed_table

if TYPE_CHECKING:
    from nas.engine.storage import Storage
    from nas.genome import Genome

STORAGE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE}  # errors of the storage
MINUTE = 60
FOREIGN = "it belongs to another run; put its directory back there, or delete it"


@dataclass(frozen=True, slots=True)
class Trial:
    """A job, its pauses (by epochs) and, once it has ended, its outcome."""

    job: Job
    outcome: Outcome | None = None
    rungs: dict[int, Outcome] = field(default_factory=dict)


class Ledger:
    """All trials of one run directory, and of its storage if it has one (nas/engine/storage.py).

    id: of the run, where it is known already, or is not in a run.yaml of its own. Raises RunError for a damaged trial,
    and for a trial of another run.

    >>> ledger = Ledger(Path("results/my_run"))
    >>> ledger.table()[["trial", "state", "accuracy"]]
    """

    def __init__(self, directory: Path, storage: Storage | None = None, *, id: str | None = None):
        self.directory = Path(directory).resolve()
        self.storage = storage
        record = read_record(self.directory) if id is None else {"id": id}
        self.id: str | None = (record or {}).get("id")
        self._begun = record is not None
        self.folder = self.directory / "trials"
        self._next_table = 0.0
        self._held: IO[str] | None = None  # the lock, while this process drives the run
        self._trials: dict[int, Trial] = {}
        self._stamps: dict[int, tuple[int, int] | None] = {}  # of each result.json, when it was read
        self._read()

    def _read(self) -> None:
        """Read all trials, but for those that have ended and whose result.json is the one that was read before."""
        before, self._trials = self._trials, {}
        self.foreign: list[str] = []  # other entries of trials/, left untouched
        for path in self.folder.glob("[!.]*"):
            if not is_trial(path):
                self.foreign.append(path.name)
                continue
            number, stamp = int(path.name), _stamp(path / "result.json")
            if number in before and stamp is not None and stamp == self._stamps.get(number):
                self._trials[number] = before[number]
                continue
            try:
                self._trials[number] = _trial_in(path)
            except RunError as error:
                if self.storage is None or AGAIN not in error.message:
                    raise
                how = "delete its directory to have it fetched from the storage or, deleted there too, trained again"
                raise RunError(error.message.replace(AGAIN, how), file=error.file, path=error.path) from None
            self._stamps[number] = stamp
        if self._begun:
            self._check_run()
        self.next_number = max(self._trials, default=-1) + 1

    def begin(self, id: str) -> None:
        """Give a run its id that has no run.yaml yet. Raises RunError if a trial of another run is there."""
        self.id, self._begun = id, True
        self._check_run()

    def _check_run(self) -> None:
        """Raise RunError for a trial of another run; if all are of one other run, run.yaml is the odd one."""
        foreign = [trial.job for trial in self.trials if trial.job.run != self.id]
        record = self.directory / "run.yaml"
        one = len({job.run for job in foreign}) == 1 < len(foreign) == len(self._trials)
        if one and record.exists():
            what = f"it is {self.id or 'missing'}, and all trials have {foreign[0].run or 'none'}"
            raise RunError(f"{what}; restore the run.yaml that they were trained with", file=record, path="id")
        if foreign:
            raise RunError(FOREIGN, file=foreign[0].directory / "trial.json", path="run")

    @property
    def trials(self) -> list[Trial]:
        """Sorted by number."""
        return [self._trials[number] for number in sorted(self._trials)]

    def trial(self, number: int) -> Trial:
        return self._trials[number]

    def __contains__(self, number: int) -> bool:
        return number in self._trials

    @property
    def outcomes_sha256(self) -> str:
        """Of the outcomes of all trials that have ended: another one as soon as a trial has ended, or is gone."""
        ended = [(trial.job.number, trial.outcome) for trial in self.trials if trial.outcome is not None]
        facts = [(number, found.state, found.accuracy, found.epochs, found.finished) for number, found in ended]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def gaps(self) -> list[int]:
        """Numbers of trials that there were and that have no directory any more. The last ones are not known of."""
        return [number for number in range(self.next_number) if number not in self._trials]

    @property
    def gap(self) -> int | None:
        """The number that the next trial takes where it is one that is made again; None: a new one."""
        return next(iter(self.gaps), None)

    @property
    def unfinished(self) -> list[Job]:
        return [trial.job for trial in self.trials if trial.outcome is None]

    def within(self, name: str) -> Ledger:
        """The ledger of a run in a subdirectory of this one: a baseline."""
        storage = self.storage.within(name) if self.storage is not None else None
        return Ledger(self.directory / name, storage, id=f"{self.id}/{name}" if self.id is not None else None)

    def add(
        self,
        genome: Genome | None,
        *,
        number: int | None = None,
        outcome: Outcome | None = None,
        files: Iterable[Path] = (),
        **job: Any,
    ) -> Job:
        """Create a trial directory for `Job(number, **job)`, atomically with all its files.

        number: of a trial whose directory was deleted; by default the next one. outcome: of a trial that is not
        trained: refused, or taken over from another run. files: copied.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = draft_in(self.folder)
        made = Job(number=self.next_number if number is None else number, run=self.id, **job)
        made.write(draft)
        if genome is not None:
            write_text(draft / "genome.yaml", genome.to_yaml())
        for file in files:
            write_atomically(draft / file.name, partial(shutil.copyfile, regular(file)))
        if outcome is not None:
            outcome.write(draft)
        made = replace(made, directory=self.folder / made.id)
        put_in_place(draft, made.directory)
        self.bring(made)
        self._trials[made.number] = Trial(made, outcome)
        self.next_number = max(self.next_number, made.number + 1)
        return made

    def check_there(self) -> None:
        """Raise RunError if the directory that is locked has been removed, or replaced by another one."""
        if self._held is not None:
            check_held(self._held, self.directory)

    def finish(self, job: Job, outcome: Outcome) -> None:
        """Record a trial's outcome, unless its worker has done so."""
        written = Outcome.read(job.directory)
        if written is None:
            outcome.write(job.directory)
            self.bring(job)
        self._trials[job.number] = replace(self._trials[job.number], outcome=written or outcome)

    def fetch(self, job: Job) -> None:
        """Fetch what the trial's worker has saved to the storage, if there is one."""
        if self.storage is not None:
            from nas.train.checkpoint import TRANSIENT  # imports torch, needed only with a storage

            self.storage.pull(f"trials/{job.id}", job.directory, without=TRANSIENT)

    def remove(self, job: Job, name: str) -> None:
        """Remove a trial's file, here and in the storage, if it exists."""
        (job.directory / name).unlink(missing_ok=True)
        if self.storage is not None:
            self.storage.remove(f"trials/{job.id}", name)

    def bring(self, job: Job) -> None:
        """Copy a trial's files to the storage, if there is one. Call it when the driver has changed them."""
        if self.storage is not None:
            self.storage.push(job.directory, f"trials/{job.id}")

    def table(self) -> pd.DataFrame:
        """One row per trial, with the columns of trials.csv (nas/engine/trials_table.py)."""
        return trials_table(self.trials)

    def write_table(self, *, patience: float = 0.0) -> None:
        """Rewrite trials.csv. With `patience`, at most once per that many times the last write's duration."""
        begin = time.monotonic()
        if patience and begin < self._next_table:
            return
        self.check_there()  # or the table alone would be in a new one
        table = self.table()
        write_sealed_table(self.directory / "trials.csv", table)
        end = time.monotonic()
        self._next_table = end + patience * (end - begin)

    def _clear(self) -> None:
        """Remove files left by a kill during a write (in a trial directory, its next worker does so)."""
        for draft in self.folder.glob(".new-*"):
            if draft.is_dir():
                shutil.rmtree(draft)
        for temporary in self.directory.glob(".*.tmp"):
            if time.time() - temporary.stat().st_mtime > MINUTE:  # newer: a report may be writing it
                temporary.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run for one driver. Raises RunError if it is locked already, or if the directory is not writable.

        The trials are read again, since another driver may have changed them. A directory that is still empty at the
        end is removed.
        """
        with lock(self.directory, self.folder) as self._held:
            self._clear()
            if self.storage is not None:
                self.storage.synchronise(self.folder, self.id)
            self._read()
            try:
                yield
            except OSError as error:
                if error.errno not in STORAGE:
                    raise
                self.check_there()
                raise RunError(f"the run directory cannot be written: {error}", file=self.directory) from error
            finally:
                names = {path.name for path in self.directory.iterdir()} if self.directory.exists() else set()
                if names == {".lock", "trials"} and not self._trials:
                    shutil.rmtree(self.directory)
                self._held = None


def _trial_in(path: Path) -> Trial:
    job = Job.read(path)
    outcome = Outcome.read(path, job)
    return Trial(job, _of_job(outcome, job) if outcome is not None else None, read_rungs(path, job))


def _of_job(outcome: Outcome, job: Job) -> Outcome:
    """With the costs that are missing, as the job has them. Raises RunError for a cost that differs, and if a complete
    training was validated and has no accuracy."""
    if outcome.state == "complete" and outcome.accuracy is None:
        epochs = read_epochs(job.directory / "metrics.csv")
        if epochs and "accuracy" in epochs[-1]:
            what = f"it is null, and metrics.csv ends with {epochs[-1]['accuracy']}"
            raise RunError(DAMAGED.format(what), file=job.directory / "result.json", path="accuracy")
    for name in outcome.costs.keys() & job.costs.keys():
        if outcome.costs[name] != job.costs[name]:
            what = f"it is {outcome.costs[name]}, and trial.json says {job.costs[name]}"
            raise RunError(DAMAGED.format(what), file=job.directory / "result.json", path=name)
    return outcome if outcome.costs.keys() >= job.costs.keys() else replace(outcome, costs=job.costs | outcome.costs)


def _stamp(file: Path) -> tuple[int, int] | None:
    """Inode and time of change: another one whenever the file is written anew. None if there is no such file."""
    try:
        found = os.stat(file)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns
