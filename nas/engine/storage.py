"""`storage:` copies a run to any file system that pyarrow supports: a path, file://, s3://, gs://, abfs://, hdfs://.

    URI/<run>/trials/<id>/...    each trial directory: on creation, after each epoch and pause, and at its end
    URI/<run>/library/...        pieces of a conversion, and scores.csv above them: when they are made
    URI/<run>/...                run.yaml from the start; trials.csv, front.csv, winners/ at the end

The run directory stays on the driver's machine, where it can be locked; workers do not access it. A worker fetches its
trial from the storage, trains in a scratch directory and uploads changed files, result.json last; the driver downloads
them. If the run directory is missing or older than the storage, it is restored from there before the ledger is read.
Machines therefore need no common file system, and the driver's machine may be lost.

Files appear atomically: object stores do this by design; elsewhere a file is uploaded under a temporary name and moved.
The lock is local to the driver's machine: drive a run from one machine at a time. A worker that outlives its driver may
upload an epoch that its successor has computed too; the results are identical.
"""

from __future__ import annotations

import io
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import fs

from nas.credentials import has_credentials
from nas.engine.job import Job, is_trial
from nas.engine.reading import is_winners
from nas.engine.record import read_record
from nas.errors import RunError, SpecError, shown
from nas.files import draft_in, put_in_place, write_atomically

Seen = dict[str, tuple[int, int]]  # file -> its size and modification time when last copied
ATOMIC = ("s3", "gcs", "abfs")  # pyarrow's names of object stores
CHUNK = 2**20
HOUR = 3600  # seconds; no upload of one file takes as long
_DRAFT = re.compile(r"\.[0-9a-f]{32}\.tmp")  # of `_put`
_SCHEME = re.compile("[a-z][a-z0-9+.-]*:")  # whose slashes were forgotten
KINDS = "a path, file://, s3://bucket/folder, gs://, abfs://, hdfs://"


@dataclass(frozen=True)
class Storage:
    """The folder of one run below `uri`. Picklable: each machine supplies its own credentials.

    All methods raise RunError if the storage cannot be used.

    >>> storage = Storage.of("s3://bucket/nas?region=eu-west-1", Path("results/my_run"))
    >>> ledger = Ledger(Path("results/my_run"), storage)
    """

    uri: str
    run: str

    @classmethod
    def of(cls, place: str | None, run: Path) -> Storage | None:
        """The storage of run directory `run` below `place`, after a test write; None for None."""
        if place is None:
            return None
        if has_credentials(place):
            message = "run.yaml keeps this URI: leave credentials to the environment, ~/.aws or the machine's role"
            raise RunError(message, path="storage")
        if "://" not in place and _SCHEME.match(place):
            raise RunError(f"expected {KINDS}, found {shown(place)}", path="storage")
        storage = cls(place if "://" in place else str(Path(place).expanduser().resolve()), run.name)
        with storage._usable():
            if storage._files.type_name == "local" and Path(storage._at()) == run.resolve():
                raise RunError(f"{shown(place)} is where the run itself is; name another place", path="storage")
            storage._put(io.BytesIO(), ".try")
            storage._files.delete_file(storage._at(".try"))
        return storage

    def within(self, name: str) -> Storage:
        """The storage of a run in a subdirectory of this run."""
        return Storage(self.uri, f"{self.run}/{name}")

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return Storage, (self.uri, self.run)

    def restore_files(self, directory: Path) -> None:
        """Fetch run.yaml, the files beside it, and winners/, if the storage has it and the run directory does not.

        A run.yaml that both have is of one run: what is uploaded from here would replace another one's.
        """
        with self._usable():
            stored, winners = "run.yaml" in self._names(""), bool(self._names("winners"))
        if stored and not (directory / "run.yaml").exists():
            if winners:
                self.pull("winners", directory / "winners")
            self.pull("", directory)
        elif stored:
            self._check(directory)

    def save_files(self, directory: Path) -> None:
        """Upload the top-level files of the run directory, and its winners. Files of the user's in winners/ stay."""
        self.push(directory, "")
        if (directory / "winners").exists():
            self.push(directory / "winners", "winners", prune=is_winners)

    def _check(self, directory: Path) -> None:
        """Raise RunError if the storage has another run than `directory`."""
        with tempfile.TemporaryDirectory() as name:
            with self._usable():
                self._get(self._at("run.yaml"), Path(name) / "run.yaml")
            try:
                theirs = read_record(Path(name))
            except SpecError as error:
                what = f"run.yaml of {self.run} there cannot be read ({error.message}); remove it there"
                raise RunError(f"{shown(self.uri)}: {what}, or choose another RUN", path="storage") from None
        if _begun(theirs) != _begun(read_record(directory)):
            message = f"{shown(self.uri)} has another run of the name {self.run}; choose another RUN or storage"
            raise RunError(message, path="storage")

    def _check_trial(self, draft: Path, trial: str, run: str | None) -> None:
        """Raise RunError if a trial as it was fetched is not of this run, and remove it here."""
        try:
            if run is None or Job.read(draft).run == run:
                return
            what = "is another run's"
        except RunError as error:
            what = f"is {error.message.partition(';')[0]}"
        shutil.rmtree(draft)
        message = f"{shown(self.uri)}: trials/{trial} of {self.run} {what}; remove it there, or choose another RUN"
        raise RunError(message, path="storage")

    def synchronise(self, folder: Path, run: str | None = None) -> None:
        """Synchronise trials and results between `folder` (trials/ of the run directory) and the storage.

        run: the id of the run, where it is known. Raises RunError for a trial of another one in the storage.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._sweep()
        theirs: dict[str, set[str]] = {}
        with self._usable():
            for info in self._list("trials", recursive=True):
                if info.type == fs.FileType.File:
                    _, trial, name = info.path.rsplit("/", 2)
                    theirs.setdefault(trial, set()).add(name)
        ours = {path.name: set(_stamps(path)) for path in folder.iterdir() if is_trial(path)}
        for trial in sorted(theirs.keys() | ours.keys()):
            here, there = ours.get(trial, set()), theirs.get(trial, set())
            if "trial.json" in there and not here:
                draft = draft_in(folder)
                self.pull(f"trials/{trial}", draft)
                self._check_trial(draft, trial, run)
                put_in_place(draft, folder / trial)
            elif "trial.json" in there and "result.json" not in here:
                self.pull(f"trials/{trial}", folder / trial)
            elif here and not here <= there:
                self.push(folder / trial, f"trials/{trial}")

    def pull(self, folder: str, directory: Path, *, without: Collection[str] = ()) -> Seen:
        """Fetch the files of a folder (not recursively), except those in `without`; result.json comes last."""
        directory.mkdir(parents=True, exist_ok=True)
        with self._usable():
            for name in _in_order(self._names(folder) - set(without)):
                write_atomically(directory / name, partial(self._get, self._at(folder, name)))
        return _stamps(directory)

    def push(
        self,
        directory: Path,
        folder: str,
        seen: Seen | None = None,
        *,
        prune: Callable[[str], bool] | None = None,
    ) -> None:
        """Upload the files of a directory (not recursively) that differ from `seen`, and update `seen`.

        prune: files that are deleted there if the directory lacks them, by name.
        """
        stamps, seen = _stamps(directory), {} if seen is None else seen
        with self._usable():
            for name in _in_order(set(stamps)):
                if seen.get(name) != stamps[name]:
                    with (directory / name).open("rb") as file:
                        self._put(file, folder, name)
                    seen[name] = stamps[name]
            for name in filter(prune, self._names(folder) - stamps.keys()) if prune is not None else ():
                self._files.delete_file(self._at(folder, name))

    def remove(self, folder: str, name: str) -> None:
        """Remove a file, if it exists."""
        with self._usable():
            if name in self._names(folder):
                self._files.delete_file(self._at(folder, name))

    def _put(self, file: IO[bytes], *parts: str) -> None:
        path = self._at(*parts)
        folder = path.rpartition("/")[0]
        if self._files.type_name in ATOMIC:
            with self._files.open_output_stream(path) as stream:
                shutil.copyfileobj(file, stream, CHUNK)
            return
        temporary = f"{folder}/.{uuid.uuid4().hex}.tmp"
        self._files.create_dir(folder, recursive=True)
        try:
            with self._files.open_output_stream(temporary) as stream:
                shutil.copyfileobj(file, stream, CHUNK)
            self._files.move(temporary, path)
        except BaseException:  # a full disk would stay full
            with suppress(OSError, pa.ArrowException):
                self._files.delete_file(temporary)
            raise

    def _sweep(self) -> None:
        """Remove what a kill in the middle of an upload has left. What is younger may be another process's."""
        with self._usable():
            if self._files.type_name in ATOMIC:
                return
            for info in self._list("", recursive=True):
                drafted = info.type == fs.FileType.File and _DRAFT.fullmatch(info.base_name)
                if drafted and info.mtime is not None and time.time() - info.mtime.timestamp() > HOUR:
                    self._files.delete_file(info.path)

    def _get(self, path: str, target: Path) -> None:
        with self._files.open_input_stream(path) as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file, CHUNK)

    def _names(self, folder: str) -> set[str]:
        files = {info.base_name for info in self._list(folder) if info.type == fs.FileType.File}
        return {name for name in files if not name.startswith(".")}

    def _list(self, folder: str, *, recursive: bool = False) -> list[fs.FileInfo]:
        selector = fs.FileSelector(self._at(folder), allow_not_found=True, recursive=recursive)
        found: list[fs.FileInfo] = self._files.get_file_info(selector)
        return found

    @cached_property
    def _opened(self) -> tuple[fs.FileSystem, str]:
        files, path = fs.FileSystem.from_uri(self.uri)
        return files, f"{path.rstrip('/')}/{self.run}"

    @property
    def _files(self) -> fs.FileSystem:
        return self._opened[0]

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except pa.ArrowInvalid as error:
            message = f"{shown(self.uri)} is no storage ({_first(error)}); allowed: {KINDS}"
            raise RunError(message, path="storage") from None
        except (OSError, pa.ArrowException) as error:
            message = f"{shown(self.uri)} cannot be used ({_first(error)}); name another place, or mend its credentials"
            raise RunError(message, path="storage") from None

    def _at(self, *parts: str) -> str:
        return "/".join([self._opened[1], *(part for part in parts if part)])


def _begun(record: dict[str, Any] | None) -> Any:
    """What tells a run from others; earlier versions had no id."""
    return record and (record.get("id") or record.get("created"))


def _stamps(directory: Path) -> Seen:
    files = [path for path in directory.iterdir() if path.is_file() and not path.name.startswith(".")]
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def _in_order(names: set[str]) -> list[str]:
    """Files by name; those that mark the others as complete come last."""
    last = {"run.yaml": 1, "trial.json": 1, "result.json": 2}
    return sorted(names, key=lambda name: (last.get(name, 0), name))


def _first(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
