"""A PostgreSQL server of a test's own: a fresh cluster in a temporary folder, on a free port of the loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path


def binaries() -> Path | None:
    """Where Debian's package, or PATH, has the newest server; None where there is none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = [*debian[::-1], *map(Path, filter(None, [shutil.which("initdb")]))]
    return found[0].parent if found else None


class Server:
    """`start` and `stop` keep the data; `remove` ends all. It refuses to run as root, who becomes another."""

    def __init__(self) -> None:
        self.bin = binaries()
        self.folder = Path(tempfile.mkdtemp(prefix="nas-postgres-"))
        names = {entry.pw_name for entry in pwd.getpwall()}
        user = next(name for name in ("postgres", "nobody") if name in names)
        self.identity = (
            {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if not os.getuid() else {}
        )
        if self.identity:
            shutil.chown(self.folder, user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._call("initdb", "--auth=trust", "--username=nas", "--encoding=UTF8", "--locale=C", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgresql://nas@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -F"
        self._call("pg_ctl", "-w", "-o", options, "-l", str(self.folder / "log"), "start")

    def stop(self) -> None:
        self._call("pg_ctl", "-w", "-m", "immediate", "stop")

    def remove(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.folder)

    def _call(self, program: str, *arguments: str) -> None:
        assert self.bin is not None
        command = [str(self.bin / program), "-D", str(self.folder / "data"), *arguments]
        # Not captured: the server inherits the pipes and would keep them open.
        with open(self.folder / "output", "w") as output:
            done = subprocess.run(
                command, stdout=output, stderr=output, cwd=self.folder, timeout=60, check=False, **self.identity
            )
        assert done.returncode == 0, (self.folder / "output").read_text()
