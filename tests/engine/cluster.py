"""Ray nodes as processes of their own, on ports and in folders of their own, for drivers that join by RAY_ADDRESS.

What is started here never meets the Ray session of the pytest process (the fixture `pool`), nor any other on the
machine: drivers are processes as well, and find the cluster by `environment`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Cluster:
    """A head and any number of further nodes, each `ray start --block` in a session (of processes) of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.address = f"{_own_address()}:{_free_port()}"
        self.nodes: list[subprocess.Popen[bytes]] = []

    @property
    def environment(self) -> dict[str, str]:
        """What a driver needs to join, and to import what its workers do."""
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
        quiet |= {"RAY_health_check_period_ms": "500"}  # a lost node is missed in seconds
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
        return inherited | quiet | {"RAY_ADDRESS": self.address, "PYTHONPATH": str(ROOT)}

    def start(self, *, cpus: int, gpus: int = 0, **environment: str) -> subprocess.Popen[bytes]:
        """One more node; the first is the head. `environment` is added to what its workers see."""
        folder = self.folder / f"n{len(self.nodes)}"
        folder.mkdir()
        port = self.address.rpartition(":")[2]
        head = ["--head", f"--port={port}", "--include-dashboard=false"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--include-log-monitor=false"]
        command += head if not self.nodes else [f"--address={self.address}"]
        command += [f"--num-cpus={cpus}", f"--num-gpus={gpus}", "--object-store-memory=100000000"]
        command += [f"--temp-dir={folder}", f"--dashboard-agent-listen-port={_free_port()}"]
        env = {name: value for name, value in self.environment.items() if name != "RAY_ADDRESS"} | environment
        with (folder / "out").open("wb") as out:
            node = subprocess.Popen(command, stdout=out, stderr=out, env=env, cwd=folder, start_new_session=True)
        self.nodes.append(node)
        while "Ray runtime started" not in (text := (folder / "out").read_text()):
            assert node.poll() is None, text
            time.sleep(0.1)
        return node

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """kill -9 of a node and of all its workers at once, as when a machine is gone."""
        for process in _of_session(node.pid):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        node.wait()


def _of_session(session: int) -> list[int]:
    """The processes of a node; its workers have process groups of their own."""
    return [process for process, (_, _, theirs) in _processes().items() if theirs == session]


def workers_of(driver: int) -> set[int]:
    """The processes that train below a driver with a Ray of its own, by the name that Tune gives them."""
    processes, below = _processes(), {driver}
    while more := {process for process, (_, parent, _) in processes.items() if parent in below} - below:
        below |= more
    return {process for process in below if _command(process).startswith("ray::ImplicitFunc")}


def wait_until_gone(processes: set[int]) -> None:
    """No clock: the timeout of the test ends it."""
    while any(state != "Z" for process, (state, _, _) in _processes().items() if process in processes):
        time.sleep(0.05)


def _processes() -> dict[int, tuple[str, int, int]]:
    """State, parent and session of each process of the machine."""
    found = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = file.read_text().rpartition(")")[2].split()
            found[int(file.parent.name)] = fields[0], int(fields[1]), int(fields[3])
    return found


def _command(process: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_text()
    return ""


@contextmanager
def cluster() -> Iterator[Cluster]:
    """No node yet; whatever is started is gone at the end. Its folder is short, as the paths of sockets must be."""
    folder = Path(tempfile.mkdtemp(prefix="nas-"))
    made = Cluster(folder)
    try:
        yield made
    finally:
        for node in reversed(made.nodes):
            made.kill(node)
        shutil.rmtree(folder, ignore_errors=True)


def _own_address() -> str:
    """The address by which Ray knows this machine."""
    from ray.util import get_node_ip_address

    return get_node_ip_address()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
