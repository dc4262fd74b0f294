"""A run: the steps shared by all clients that make trial directories (searches, ablations).

    run = Run(directory, "search", spec, upgrade)      reads what exists; writes nothing
    run.check(record, may_differ=MAY_DIFFER, data=account_of(images))
                                                       only these keys may differ from the recorded spec, and no images;
                                                       a new run has an id from here on
    with run.opened(on_event):                         one driver: lock, storage, workers
        run.begin(record, seed=0)                      run.yaml
        run.train(source, work, on_event)              trial directories
        run.test(jobs, task, on_event)                 accuracy on the test split, in the workers
                                                       on exit: trials.csv, and the storage updated

All user errors are detected before `opened`, so a mistake leaves no directory behind.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import pandas as pd

from nas.engine.events import Event, OnEvent
from nas.engine.job import Job
from nas.engine.ledger import Ledger
from nas.engine.limits import Limits
from nas.engine.pool import Pool, Workers, session
from nas.engine.reading import read_table
from nas.engine.record import changed_images, identity, read_record, update_record, write_record
from nas.engine.source import JobSource
from nas.engine.storage import Storage
from nas.engine.worker import Work
from nas.errors import RunError, SpecError, shown
from nas.paths import difference
from nas.plugins import check, shipment
from nas.row_seals import write_sealed_table

if TYPE_CHECKING:
    from nas.model import Donor
    from nas.train import Task

Record = dict[str, Any]  # a spec as plain data, everything written out


class Spec(Protocol):
    """The part of a client's spec that a run uses."""

    @property
    def workers(self) -> Workers: ...

    @property
    def storage(self) -> str | None: ...

    @property
    def limits(self) -> Limits: ...


S = TypeVar("S", bound=Spec)


class Run(Generic[S]):
    """A run directory with its spec, ledger and storage.

    `begun` is the recorded spec that the run was begun with, None for a new run. kind: search or ablation.
    With a storage, run.yaml is fetched from there first.
    upgrade: converts a record of an earlier version to the current keys. Raises SpecError for a damaged run.yaml,
    a run of another kind, a missing plug-in, and an unusable storage.
    """

    def __init__(self, directory: Path, kind: str, spec: S, upgrade: Callable[[Record], Record]):
        self.directory, self.kind, self.spec = Path(directory).resolve(), kind, spec
        self.storage = Storage.of(spec.storage, self.directory)
        if self.storage is not None:
            self.storage.restore_files(self.directory)
        shipment()  # refuses plug-ins defined in a script or a notebook, which workers cannot import
        record = read_record(self.directory)
        if record is not None and record.get("kind") != kind:
            what = f"there is another kind of run in it ({record.get('kind')}); choose another RUN"
            raise RunError(what, file=self.directory)
        if record is None and (self.directory / "metrics.csv").exists():
            raise RunError("a single training is in it (`nas train`); choose another RUN", file=self.directory)
        check((record or {}).get("plugins"), file=self.directory / "run.yaml")
        try:
            self.begun = None if record is None else upgrade(record["spec"])
        except SpecError as error:
            raise error.within(file=self.directory / "run.yaml", path="spec") from None
        self.begun_data: Record = (record or {}).get("data", {})  # the account of the images that it was begun with
        self.data: Record = {}
        self.ledger = Ledger(self.directory, self.storage, id=(record or {}).get("id"))
        self.may_differ: Collection[str] = ()
        self.start: str | None = None  # digest of a new run's start
        self.pool: Pool

    def check(
        self, record: Record, *, may_differ: Collection[str], data: dict[str, Any], start: Donor | None = None
    ) -> None:
        """Raise RunError if the run was begun with another spec, or other images; give a new run its id.

        may_differ: paths that may differ. data: the account of the images. start: the model that all trials begin from.
        """
        self.data = data
        self.may_differ = may_differ
        if self.begun is None:
            self.start = start.digest if start is not None else None
            self.ledger.begin(
                identity(self.kind, record, may_differ=may_differ, start=self.start, images=data.get("images_sha256"))
            )
        change = difference(self.begun, record, may_differ) if self.begun is not None else None
        if change is not None:
            what = f"the run was begun with {shown(change.old)}, now it is {shown(change.new)}"
            message = f"{what}; choose another RUN, or set it back"
            raise RunError(message, file=self.directory / "run.yaml", path=f"spec.{change.path}")
        if (changed := changed_images(self.begun_data, data)) is not None:
            message = f"its images have changed since it was begun: {changed}; restore them, or choose another RUN"
            raise RunError(message, file=self.directory / "run.yaml", path="data")
        table = self.directory / "trials.csv"
        if self.begun is not None and self.storage is None and not self.ledger.trials and table.exists():
            rows = len(read_table(table, remedy="restore it"))
            if rows:
                what = f"its {rows} trials are here as a table alone, and their directories are gone"
                raise RunError(f"{what}; restore trials/, or choose another RUN", file=table)

    @contextmanager
    def opened(self, on_event: OnEvent) -> Iterator[None]:
        """Lock the run and start workers. Raises RunError if another process drives it, or has begun it meanwhile."""
        with self.ledger.locked():
            if self.begun is None and (record := self.directory / "run.yaml").exists():
                message = "another process has begun a run here meanwhile; the same command goes on with it"
                raise RunError(message, file=record)
            with session(self.spec.workers) as self.pool:
                if self.ledger.trials:
                    on_event(Event("resumed", data={"table": self.ledger.table()}))
                try:
                    yield
                finally:
                    if self.begun is not None:
                        self.ledger.write_table()
                        self._save()

    def begin(self, record: Record, *, seed: int, accuracy: str | None = None) -> None:
        """Write run.yaml, or update the keys that may differ in the existing one. accuracy: as there."""
        if self.begun is None:
            assert self.ledger.id is not None  # from `check`
            write_record(
                self.directory,
                kind=self.kind,
                seed=seed,
                spec=record,
                id=self.ledger.id,
                start=self.start,
                accuracy=accuracy,
                data=self.data,
            )
        else:
            update_record(self.directory, record, may_differ=self.may_differ, data=self.data)
        self.begun = record
        self._save()

    def train(self, source: JobSource, work: Work, on_event: OnEvent) -> None:
        """Run the source's jobs on the workers until it is done."""
        from nas.engine.ray_tune import run  # imports Ray Tune

        if self.ledger.foreign:
            text = f"left alone in {self.ledger.folder}, as no trial has such a name: {shown(self.ledger.foreign)}"
            on_event(Event("message", data={"text": text}))
        on_event(Event("message", data={"text": f"workers      {self.pool}"}))
        run(source, self.ledger, work=work, pool=self.pool, limits=self.spec.limits, on_event=on_event)

    def test(self, jobs: Iterable[Job], task: Task, on_event: OnEvent) -> None:
        """Write test.json into the directories of finished trials that lack it, but of those whose worker stalls."""
        from nas.engine.evaluation import test_in_workers

        test_in_workers(self.ledger, jobs, task, self.pool, self.spec.limits, on_event)

    def write_csv(self, name: str, table: pd.DataFrame) -> None:
        """Write a table into the run directory, with a seal for each row."""
        write_sealed_table(self.directory / name, table)

    @contextmanager
    def within(self, name: str, on_event: OnEvent) -> Iterator[Run[S]]:
        """A run in a subdirectory of this one, with the same workers: a baseline."""
        inner = copy.copy(self)
        inner.directory = self.directory / name
        inner.ledger = self.ledger.within(name)
        inner.storage = inner.ledger.storage
        with inner.ledger.locked():
            on_event(Event("resumed", data={"table": inner.ledger.table()}))
            yield inner

    def _save(self) -> None:
        if self.storage is not None:
            self.storage.save_files(self.directory)
