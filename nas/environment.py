"""What the package reads from the environment and sets in it. Everything else there is the user's.

read                                    where
    XDG_CACHE_HOME, HOME                `cache_home`: decoded images, timings, downloads
    NAS_DATA                            nas/data/sources/torchvision_sets.py: downloads, in another folder
    RAY_TMPDIR, TMPDIR                  `private_folder`: Ray's sockets and logs
    RAY_ADDRESS                         nas/engine/pool.py: the cluster to join
    RAY_AUTH_MODE, RAY_AUTH_TOKEN(_PATH)  `ray_access`: who is let in
    COLUMNS, NO_COLOR, ...              rich: tables and progress

set
    RAY_..., TUNE_..., HOME             `quieten_ray`, where the user has not set them
    RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH  `ray_access`, as long as Ray is up
    MPLBACKEND                          `command_line`: figures are files there, whatever the shell was made for
"""

from __future__ import annotations

import codecs
import logging
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nas.errors import RunError

NO_HOME = Path("/nonexistent")  # as Debian's `nobody` has it: what is looked for there is not found, nor written
SOCKET = 107  # bytes that the path of a Unix socket may have, on Linux
BELOW = 81  # of them for what stands below the temporary folder: /nas-…/r/session_…/sockets/plasma_store
ASCII = {"×": "x", "·": "-", "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "±": "+-", "≤": "<=", "≥": ">="}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths keep their meaning in workers
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the trial directory has the metrics
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run, tidily (nas/engine/ray_tune.py)
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Ray's own state of the run is not used
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}


def home() -> Path:
    """The user's home directory; /nonexistent for a user without one (a container's number, a batch system's)."""
    try:
        return Path.home()
    except RuntimeError:
        return NO_HOME


def cache_home() -> Path:
    """Where caches go: $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache")


def command_line() -> None:
    """For a process that is ours: figures need no window, and a terminal that lacks a character gets a likeness."""
    os.environ["MPLBACKEND"] = "agg"  # a notebook's shell names one that only notebooks have
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would tell of a folder for its fonts
    codecs.register_error("nas", _likeness)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="nas")


def quieten_ray() -> None:
    """Ray says what a run's user need not know; the run reports by its own events. Call before Ray is imported."""
    for name, value in (QUIET | {"HOME": str(home())}).items():  # Ray looks for a home where it is not needed
        os.environ.setdefault(name, value)


@contextmanager
def private_folder() -> Iterator[Path]:
    """A temporary folder that is the user's alone and whose path leaves room for Ray's sockets, removed at the end.

    In $RAY_TMPDIR or $TMPDIR, and in /tmp where that path is too long. Raises RunError if it cannot be made.
    """
    wanted = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    place = wanted if len(os.fsencode(os.path.abspath(wanted))) <= SOCKET - BELOW else "/tmp"
    try:
        folder = Path(tempfile.mkdtemp(prefix="nas-", dir=place))
    except OSError as error:
        message = f"Ray needs a temporary folder ({error.strerror}); name one with TMPDIR or RAY_TMPDIR"
        raise RunError(message, file=place) from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def has_ray_token() -> bool:
    """Whether the user has given Ray a token: in the environment, or in the file where Ray looks for one."""
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(given) or (home() / ".ray" / "auth_token").exists()


@contextmanager
def ray_access(folder: Path | None) -> Iterator[None]:
    """Settle who may talk to Ray, which executes what it is sent, until the end of the block.

    folder: of a Ray of one's own, open to those alone who have its token: a new one, in a file in the folder, unless
    the environment names one. None: of a cluster, which has decided that already; a token that the user has is used.
    """
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")
    before = {name: os.environ.get(name) for name in names}
    if folder is not None:
        os.environ["RAY_AUTH_MODE"] = "token"
        if not (os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")):
            os.environ["RAY_AUTH_TOKEN_PATH"] = str(_new_token(folder / "token"))
    elif has_ray_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _new_token(file: Path) -> Path:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w") as out:
        out.write(secrets.token_hex(32))
    return file


def _likeness(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(ASCII.get(character, "?") for character in missing), error.end
