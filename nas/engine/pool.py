"""Workers: how much of a machine each takes, and the Ray session that they live in.

One machine by default: Ray is started for the run and ended with it. With RAY_ADDRESS in the environment the run joins
that cluster. Where Ray is up already in this process (a notebook, a test session), it is used and left alone.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from nas.device import default_device
from nas.errors import RunError


class Workers(BaseModel):
    """The `workers:` section: what one worker takes. A fraction of a GPU shares it between workers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    cpu: int = Field(1, ge=1, description="cores of one worker, and its number of threads")
    gpu: float | None = Field(None, ge=0, description="GPUs of one worker; null: one where there are any, else none")
    count: int | None = Field(None, ge=1, description="at most so many at once; null: as many as fit")

    @property
    def device(self) -> str:
        """Where workers train on this machine, and where the driver takes the time."""
        return default_device(self.gpu)


@dataclass(frozen=True)
class Pool:
    """Workers as the machines at hand allow: `slots` at once, each with `cpu` cores and `gpu` GPUs.

    count: the user's limit, if any. Machines come and go: `slots` is what there was at the start.
    """

    slots: int
    cpu: int
    gpu: float
    count: int | None = field(default=None, compare=False)

    def slots_now(self) -> int:
        """As many workers as fit on the machines that are up at this moment."""
        import ray

        return _slots(self.cpu, self.gpu, self.count, [node["Resources"] for node in ray.nodes() if node["Alive"]])

    @property
    def device(self) -> str:
        return "cuda" if self.gpu else "cpu"


class Recent:
    """A number that is asked for often and changes seldom, such as the workers that fit on the machines now up."""

    def __init__(self, ask: Callable[[], int], seconds: float = 2.0):
        self._ask, self._seconds = ask, seconds
        self._until, self._known = 0.0, 0

    def __call__(self) -> int:
        if time.monotonic() >= self._until:
            self._known, self._until = self._ask(), time.monotonic() + self._seconds
        return self._known


@contextmanager
def session(workers: Workers) -> Iterator[Pool]:
    """Ray, up and quiet. Raises RunError if RAY_ADDRESS cannot be reached, or no machine can hold even one worker."""
    _quieten()
    import ray

    mine = not ray.is_initialized()
    if mine:
        address = os.environ.get("RAY_ADDRESS") or "local"  # never a cluster that happens to run on this machine
        _knock(address)
        try:
            ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except ConnectionError as error:
            message = f"no Ray cluster can be joined there ({error}); both sides need the same RAY_AUTH_MODE and token"
            raise RunError(message, path=f"RAY_ADDRESS={address}") from None
    try:
        yield _pool(workers, ray.nodes())
    finally:
        if mine:
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise RunError if nothing listens at host:port, which Ray would find out after minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        message = f"no Ray cluster answers there ({error}); start its head with `ray start --head`, or leave it out"
        raise RunError(message, path=f"RAY_ADDRESS={address}") from None


def _pool(workers: Workers, nodes: list[dict[str, Any]]) -> Pool:
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    any_gpu = any(machine.get("GPU") for machine in machines)
    gpu = (1.0 if any_gpu else 0.0) if workers.gpu is None else workers.gpu
    slots = _slots(workers.cpu, gpu, workers.count, machines)
    if not slots:
        found = "; ".join(f"{machine.get('CPU', 0):g} CPU, {machine.get('GPU', 0):g} GPU" for machine in machines)
        message = f"no machine holds a worker of {workers.cpu} CPU and {gpu:g} GPU: there is {found}"
        raise RunError(message, path="workers")
    return Pool(slots, workers.cpu, gpu, workers.count)


def _slots(cpu: int, gpu: float, count: int | None, machines: list[dict[str, float]]) -> int:
    slots = 0
    for machine in machines:
        fit = int(machine.get("CPU", 0) // cpu)
        slots += min(fit, int(machine.get("GPU", 0) / gpu + 1e-6)) if gpu else fit
    return min(slots, count or slots)


def _quieten() -> None:
    """Ray says what a run's user need not know; the run reports by its own events. Set before Ray is imported."""
    quiet = {
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
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
