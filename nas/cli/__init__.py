"""The commands of `nas`, a module for each group. Each parses, calls one function of nas/api.py, and prints.

Exit codes: 0 success, 1 a bug (with its traceback), 2 a user error (one message, nothing written), 130 interrupted by
Ctrl-C, 143 by SIGTERM, 129 by SIGHUP. Imports are inside the commands, so that `nas --help` is instant and `nas cost`
does not wait for Ray.

--quiet prints results without progress. --json prints one JSON document on stdout, and implies --quiet.
"""

from __future__ import annotations

import errno
import sys
from contextlib import redirect_stdout

from nas.cli import lists, models, results, training  # noqa: F401  (they register their commands)
from nas.cli.app import PANELS, app
from nas.cli.output import INTERRUPTED
from nas.environment import command_line
from nas.errors import SpecError, is_memory
from nas.plugins import blamed
from nas.signals import interruptible

OUTSIDE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR),
    *(errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.ESPIPE, errno.EFBIG),
    *(errno.EIO, errno.ESTALE, errno.EREMOTEIO),
)
app.registered_commands.sort(key=lambda command: PANELS.index(str(command.rich_help_panel)))


def main() -> None:
    """Entry point: runs a command, reports a user error as one message, and a signal by its exit code."""
    with redirect_stdout(sys.stdout), interruptible() as interruption:  # back as it was, also after --json
        try:
            command_line()
            app()
        except KeyboardInterrupt:
            sys.exit(interruption.code)
        except BaseException as error:
            if (said := _said(error)) is not None:
                print(f"nas: {said}", file=sys.stderr)
                sys.exit(2)
            if isinstance(error, SystemExit) and error.code == INTERRUPTED:
                sys.exit(interruption.code)
            raise


def _said(error: BaseException) -> object:
    """The message of what is no bug: a user's error, the machine's, or that of a plug-in's code, SystemExit too."""
    if isinstance(error, SpecError):
        return error
    if isinstance(error, OSError) and error.errno in OUTSIDE:
        return f"{error.filename2 or error.filename or 'a file'}: {error.strerror}"
    if isinstance(error, (MemoryError, RuntimeError)) and is_memory(error):
        reason = str(error).partition("\n")[0] or "no room"
        return f"out of memory ({reason}): a smaller batch, image or model needs less"
    return blamed(error)
