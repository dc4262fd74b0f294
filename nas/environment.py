"""The environment variables that the package reads and sets. It touches no others.

read                                    where
    XDG_CACHE_HOME, HOME                `cache_home`: decoded images, timings, downloads
    NAS_DATA                            nas/data/sources/torchvision_sets.py: downloads, in another folder
    RAY_TMPDIR, TMPDIR                  `private_folder`: Ray's sockets and logs
    RAY_ADDRESS                         nas/engine/pool.py: the cluster to join
    RAY_AUTH_MODE, RAY_AUTH_TOKEN(_PATH)  `ray_access`: access control
    MLFLOW_TRACKING_URI, WANDB_MODE     `mlflow_store`, `wandb_mode`: where trackers write, other than into the run
    COLUMNS, NO_COLOR, ...              rich: tables and progress

set
    RAY_..., TUNE_..., HOME             `quiet_ray`, unless set by the user, while Ray is running
    TUNE_MAX_PENDING_TRIALS_PG          nas/engine/ray_tune.py, while it is
    RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH  `ray_access`, while it is
    MLFLOW_ALLOW_FILE_STORE             `mlflow_store`, where MLflow writes into the run
    MPLBACKEND                          `command_line`: figures are written to files there
"""

from __future__ import annotations

import codecs
import logging
import os
import re
import secrets
import shlex
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nas.credentials import hidden
from nas.errors import RunError, shown
from nas.scratch import scratch

NO_HOME = Path("/nonexistent")  # Debian's home of `nobody`: can be neither read nor written
SOCKET = 107  # maximal length of a Unix socket path on Linux, in bytes
BELOW = 81  # bytes of it needed below the temporary folder: /nas-…/r/session_…/sockets/plasma_store
ASCII = {"×": "x", "·": "-", "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "±": "+-", "≤": "<=", "≥": ">="}
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # keeps relative paths valid in workers
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # metrics are in the trial directory
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C ends the run cleanly (nas/engine/ray_tune.py)
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Ray's own state of the run is not used
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}


def home() -> Path:
    """The user's home directory; /nonexistent for a user without one (in a container or a batch system)."""
    try:
        return Path.home()
    except RuntimeError:
        return NO_HOME


def cache_home() -> Path:
    """The cache directory: $XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache")


def mlflow_store(folder: Path) -> str:
    """Where MLflow writes: $MLFLOW_TRACKING_URI, or files in `folder`, which MLflow wants to be asked for."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    return given or folder.resolve().as_uri()


def wandb_mode() -> str:
    """$WANDB_MODE, or offline: nothing is sent anywhere unless the user says so."""
    return os.environ.get("WANDB_MODE") or "offline"


def command_line() -> None:
    """Set up the command's own process: figures without a window, and ASCII substitutes for unencodable characters."""
    os.environ["MPLBACKEND"] = "agg"  # a notebook's shell sets a backend for notebooks only
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would log its font folder
    codecs.register_error("nas", _likeness)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="nas")
    for name in ("COLUMNS", "TERMINAL_WIDTH"):
        if not re.fullmatch("[1-9][0-9]{1,2}", os.environ.get(name, "80")):  # no width of a page
            del os.environ[name]
    try:
        os.getcwd()
    except FileNotFoundError:
        raise RunError("the working directory is gone; change to another one") from None


def typed_command() -> str:
    """The command of this process as a shell takes it again, from the same folder, but for secrets.

    Python hands over the full path of a program that the shell found on PATH; its name is what was typed.
    """
    program, arguments = sys.argv[0], hidden(sys.argv[1:])
    if os.path.basename(program) == "__main__.py":
        return shlex.join(["python", "-m", os.path.basename(os.path.dirname(program)), *arguments])
    name, below = os.path.basename(program), os.path.relpath(program or ".")
    if os.path.isabs(program) and shutil.which(name) == program:
        program = name
    elif os.path.isabs(program) and not below.startswith(".."):
        program = below
    return shlex.join([program, *arguments])


@contextmanager
def restored(*names: str) -> Iterator[None]:
    """These variables are as before at the end of the block."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def errors_shown_as_before() -> Iterator[None]:
    """Uncaught exceptions are shown as before at the end of the block, in which torch or Ray may take that over."""
    hook = sys.excepthook
    try:
        yield
    finally:
        sys.excepthook = hook


@contextmanager
def quiet_ray() -> Iterator[None]:
    """Silence Ray, since a run reports by its own events. Begin before Ray is imported.

    Ray also takes over `breakpoint()` and uncaught exceptions. At the end, all is the user's again.
    """
    quiet = QUIET | {"HOME": str(home())}  # Ray requires a home even if unused
    with restored(*quiet, "PYTHONBREAKPOINT", "RAY_CLIENT_MODE"), errors_shown_as_before():
        for name, value in quiet.items():
            os.environ.setdefault(name, value)
        yield


@contextmanager
def private_folder() -> Iterator[Path]:
    """A temporary folder, private to the user, with a path short enough for Ray's sockets; removed at the end.

    In $RAY_TMPDIR or $TMPDIR, or in /tmp if that path is too long. Raises RunError if it cannot be created.
    """
    wanted = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    place = wanted if len(os.fsencode(os.path.abspath(wanted))) <= SOCKET - BELOW else "/tmp"
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch("nas-", Path(place)))
        except OSError as error:
            message = f"Ray needs a temporary folder ({error.strerror}); name one with TMPDIR or RAY_TMPDIR"
            raise RunError(message, file=place) from None
        yield folder


def has_ray_token() -> bool:
    """Whether the user has configured a Ray token, in the environment or in Ray's default file."""
    given = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    return bool(given) or (home() / ".ray" / "auth_token").exists()


def knock(address: str) -> None:
    """Raise RunError if an address is malformed or nothing listens there, which Ray would notice only after minutes."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or set(host) & set("/@ ?#") or not re.fullmatch("[0-9]{1,5}", port, re.ASCII):
        found = shown(address.rpartition("@")[2])  # before an @ there may be a password
        raise RunError(f"expected HOST:PORT, ray://HOST:PORT, auto or local, found {found}", path="RAY_ADDRESS")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError, UnicodeError) as error:
        message = f"no Ray cluster answers there ({error}); start its head with `ray start --head`, or leave it out"
        raise RunError(message, path=f"RAY_ADDRESS={address}") from None


@contextmanager
def ray_access(folder: Path | None) -> Iterator[None]:
    """Control access to Ray, which executes any code sent to it, until the end of the block.

    folder: of a Ray started here, which requires a token: a new one in a file in the folder, unless the environment
    names one. None: for a cluster, which has its own access control; the user's token is used, if there is one.
    """
    with restored("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
        if folder is not None:
            os.environ["RAY_AUTH_MODE"] = "token"
            if not (os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")):
                os.environ["RAY_AUTH_TOKEN_PATH"] = str(_new_token(folder / "token"))
        elif has_ray_token():
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        yield


def _new_token(file: Path) -> Path:
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(handle, "w") as out:
        out.write(secrets.token_hex(32))
    return file


def _likeness(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(ASCII.get(character, "?") for character in missing), error.end
