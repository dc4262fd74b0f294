"""Files: written whole or not at all, read without waiting, and JSON that knows whether it has changed.

Writing: into a temporary file in the same folder, which is flushed to disk and renamed over the target; then the folder
is flushed. A kill, a full disk or a power cut leaves either the old file or the new one.

Reading: a pipe or a device in the place of a file is refused, since its reader would wait.

Sealed JSON has the SHA-256 of its own content. That keeps nobody out who means to change it; it shows what an editor, a
copy or a merge of two runs has changed.
"""

from __future__ import annotations

import csv
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from nas.errors import RunError, SpecError, shown

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
NAME = 200  # bytes of a file name chosen by the user: file systems allow 255, and suffixes are appended
PATH = 3000  # bytes of a path; Linux takes 4,095, of which the files of a run need some
SEAL = "sha256"  # key of a JSON file's own digest
ALTERED = f"a value has changed since it was written; if the change is yours, remove the key {SEAL}"
FULL = 2**16  # a disk with fewer free bytes counts as full
UNUSABLE = re.compile("[\0\ud800-\udfff]")  # in a path or a text
_ADDRESS = re.compile("[a-z][a-z0-9+.-]+:/", re.I)  # Path takes one of its two slashes
_OF_THE_SHELL = re.compile("/dev/stdin|/dev/fd/[0-9]+|/proc/(self|[0-9]+)/fd/[0-9]+")
_UNSAFE = re.compile("[/\0-\x1f\x7f\ud800-\udfff]")  # in a file's name


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary)` and move the result over `path`; if `write` raises, nothing is left behind.

    A new file follows the umask, and one that is there keeps its permissions. Raises OSError for a pipe or a device in
    its place, RunError for an address.
    """
    refuse_address(path)
    kept = _mode_of(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{os.urandom(4).hex()}.tmp"
    try:  # from before the file is there: an interrupt may come at any point
        temporary.touch(mode=0o666 if kept is None else kept)
        mode = stat.S_IMODE(temporary.stat().st_mode) if kept is None else kept
        write(temporary)
        temporary.chmod(mode)  # safetensors makes its file anew, for its owner alone
        put_in_place(temporary, path)
    except Exception as error:  # safetensors has a class of its own
        if _is_too_large(error):
            raise _too_large(temporary, path) from error
        if _is_full(error, path.parent):
            raise _full(temporary, path) from error
        if isinstance(error, OSError) and error.filename == str(temporary):  # a name that no user knows
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _mode_of(path: Path) -> int | None:
    """The permissions of a file; None if there is none. Raises OSError for a pipe or a device."""
    try:
        return stat.S_IMODE(os.stat(regular(path)).st_mode)
    except FileNotFoundError:
        return None


def _is_full(error: Exception, folder: Path) -> bool:
    """Whether the disk was full; torch and safetensors say so in their own words, or not at all."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "No space left" in str(error) or shutil.disk_usage(folder).free < FULL


def _is_too_large(error: Exception) -> bool:
    """Whether the file has reached the size that a file may have; safetensors says so in its own words."""
    if isinstance(error, OSError):
        return error.errno == errno.EFBIG
    return "File too large" in str(error)


def _too_large(temporary: Path, path: Path) -> OSError:
    text = f"File too large: at {_megabytes(temporary):.1f} MB it is as large as files may be here (ulimit -f)"
    return OSError(errno.EFBIG, text, str(path))


def _megabytes(file: Path) -> float:
    return file.stat().st_size / 1e6 if file.exists() else 0.0


def _full(temporary: Path, path: Path) -> OSError:
    written = _megabytes(temporary)
    free = shutil.disk_usage(path.parent).free / 1e6
    before = f", before it had {path.stat().st_size / 1e6:.1f} MB" if path.exists() else ""
    text = f"No space left, the disk is full: the file was {written:.1f} MB so far{before}; {free:.1f} MB are free"
    return OSError(errno.ENOSPC, text, str(path))


def safe_name(text: str) -> str:
    """A file name from any text: forbidden characters become `_`, and a long name ends in a hash of the text.

    >>> safe_name("a/b"), safe_name(".."), safe_name("x" * 300)[-10:]
    ('a_b', '__', 'x-00ad2412')
    """
    name = _UNSAFE.sub("_", text) or "unnamed"
    name = "_" * len(name) if name in (".", "..") else name
    if len(name.encode()) <= NAME:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
    return name.encode()[: NAME - 9].decode(errors="ignore") + f"-{digest}"


def usable_path(path: Path) -> Path:
    """The path itself. Raises RunError for an address, an invalid path, or a name that leaves no room for a suffix."""
    text = str(path)
    refuse_address(path)
    if UNUSABLE.search(text):
        raise RunError(f"NUL characters and what is not UTF-8 cannot be in a path, found {shown(text)}")
    if any(len(part.encode()) > NAME for part in path.parts):
        raise RunError(f"a name has at most {NAME} bytes, found {shown(text)}")
    if len(text.encode()) > PATH:
        raise RunError(f"a path has at most {PATH} bytes, found {shown(text)}")
    return path


def check_target(path: Path, option: str) -> None:
    """Raise SpecError if no file can be written at `path`: before long work whose result goes there. Nothing is left.

    >>> check_target(Path("table.json"), "--out")
    """
    try:
        if os.path.isdir(usable_path(path)):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        if os.path.exists(path):
            regular(path)
        folder = next(parent for parent in path.absolute().parents if os.path.exists(parent))
        with tempfile.TemporaryFile(dir=folder):  # permissions alone do not know of file systems that are read-only
            pass
    except RunError as error:
        raise error.within(path=option) from None
    except OSError as error:
        raise SpecError(f"a file cannot be written there: {error.strerror}", file=path, path=option) from None


def no_link(path: Path) -> Path:
    """The path itself. Raises RunError for a link: where it points to is not the run's to write."""
    if path.is_symlink():
        raise RunError("a link, where the run writes; put what it points to in its place, or remove it", file=path)
    return path


def refuse_address(path: Path) -> None:
    """Raise RunError for `s3://bucket/x`, which would become a folder `s3:` here."""
    if _ADDRESS.match(str(path)) and not os.path.exists(path.parts[0]):
        message = f"a path of this machine is expected, found an address: {shown(str(path))}"
        raise RunError(f"{message}; write a folder of such a name with its full path")


def regular(path: Path) -> Path:
    """The path itself, to be opened for reading. Raises OSError for a pipe in the place of a file, whose reader would
    wait for a writer, and for a device, which may have no end. A pipe of the shell is meant (`/dev/fd/63`)."""
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):  # opening a folder says so
        return path
    if stat.S_ISFIFO(mode) and _OF_THE_SHELL.fullmatch(os.fspath(path)):
        return path
    raise OSError(errno.ESPIPE, "a pipe or a device, where a file is expected", str(path))


def open_lock(path: Path) -> IO[str]:
    """Open a file that is there to be locked, and make it if need be. Raises OSError for a link, a pipe or a device:
    what a link points to is not ours to write into."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.ESPIPE, "a pipe or a device, where a file is expected", str(path))
    return open(handle, "r+")


def try_lock(file: IO[str]) -> bool:
    """Whether the lock of an open file was free, and is now held. Raises OSError where there are no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file in hex. Raises OSError if it cannot be read."""
    with regular(path).open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def draft_in(folder: Path) -> Path:
    """A new folder, to be filled and then put in place: hidden, and with the permissions of the umask."""
    draft = folder / f".new-{os.urandom(4).hex()}"
    draft.mkdir()
    return draft


def put_in_place(draft: Path, target: Path) -> None:
    """Rename a complete file or folder to `target` in the same folder, durably even after a power cut.

    The caller flushes the files inside a folder.
    """
    _flush(draft)
    os.replace(draft, target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk. Not every file system can flush folders."""
    with suppress(OSError) if path.is_dir() else nullcontext():
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def parse_json(text: str | bytes) -> Any:
    """`json.loads`, for which any text that is no JSON is a ValueError: deep nesting too."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("no JSON: too deeply nested") from None


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """`write_json` of a mapping, with the SHA-256 of all other keys under `sha256`: a later change is noticed.

    >>> write_sealed(Path("result.json"), {"accuracy": 0.9})
    """
    write_json(path, sealed(content))


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content as JSON has it, with its seal: for files of other forms."""
    plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
    return plain | {SEAL: _seal(plain)}


def is_altered(content: Mapping[str, Any]) -> bool:
    """Whether a value of what `write_sealed` wrote has changed. Files of earlier versions have no seal.

    >>> is_altered(json.loads(Path("result.json").read_text()))
    False
    """
    return SEAL in content and content[SEAL] != _seal({key: content[key] for key in content if key != SEAL})


def read_sealed(path: Path, valid: Callable[[Any], T]) -> T:
    """What `valid` makes of the content that `write_sealed` wrote, without its seal.

    Raises OSError, what `valid` raises, and ValueError for no JSON or for a valid value that has changed.

    >>> read_sealed(Path("latency.json"), TypeAdapter(LatencyTable).validate_python)
    """
    content = parse_json(regular(path).read_text())
    plain = {key: content[key] for key in content if key != SEAL} if isinstance(content, dict) else content
    found = valid(plain)
    if plain is not content and is_altered(content):
        raise ValueError(ALTERED)
    return found


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(_in_one_form(content), sort_keys=True).encode()).hexdigest()


def _in_one_form(value: Any) -> Any:
    """Of equal numbers, other programs write one: 4.0 becomes 4 in JavaScript and jq."""
    if isinstance(value, dict):
        return {key: _in_one_form(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_in_one_form(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def write_dataframe(path: Path, table: pd.DataFrame) -> None:
    """Write a table as CSV, without its index."""
    write_text(path, csv_of(table))


def csv_of(table: pd.DataFrame) -> str:
    """A table as CSV, without its index. A carriage return in a cell is quoted, which csv does from Python 3.13 on."""
    text: str = table.to_csv(index=False, lineterminator="\n")
    if "\r" in text:
        text = table.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return text
