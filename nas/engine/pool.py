"""Workers: the resources of each, and the Ray session that runs them.

By default the run uses one machine: Ray starts and stops with the run, in a private folder and with its own token
(nas/environment.py). With RAY_ADDRESS set, the run joins that cluster. If Ray is already running in this process
(a notebook, a test session), it is used and left running.

Ray 2.52 or later is required, for token authentication.
https://docs.ray.io/en/latest/ray-security/token-auth.html
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ConfigDict, Field, model_validator

from nas.device import default_device
from nas.environment import has_ray_token, knock, private_folder, quiet_ray, ray_access
from nas.errors import RunError, SpecError
from nas.keys import Keys
from nas.signals import deferred, rearm

LOG = logging.getLogger(__name__)
_SESSION = threading.RLock()  # held by the thread whose run has started Ray


class Workers(Keys):
    """The `workers:` section: the resources of one worker. With a fraction of a GPU, workers share it.

    With several processes, a worker trains each trial with all of them (nas/train/ranks.py).

    >>> Workers(gpu=8).ranks, Workers(cpu=2, processes=4).ranks
    (8, 4)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    cpu: int = Field(1, ge=1, le=4096, description="cores of one process, and its number of threads")
    gpu: float | None = Field(
        None, ge=0, le=4096, description="GPUs of one worker; null: one where there are any, else none"
    )
    processes: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="processes of one worker, which train a trial together; null: one for each of its GPUs",
    )
    count: int | None = Field(None, ge=1, le=1_000_000, description="at most so many at once; null: as many as fit")

    @model_validator(mode="after")
    def _one_gpu_a_process(self) -> Workers:
        gpu = self.gpu or 0
        if gpu > 1 and gpu != int(gpu):
            raise SpecError(f"expected a whole number above 1, found {gpu:g}", path="gpu")
        if self.processes is not None and gpu and self.processes != max(1, gpu):
            what = f"each process has one GPU: expected {max(1, gpu):g} with gpu {gpu:g}, or gpu 0"
            raise SpecError(f"{what}, found {self.processes}", path="processes")
        return self

    @property
    def ranks(self) -> int:
        """Processes of one worker."""
        return self.processes or max(1, int(self.gpu or 0))

    @property
    def device(self) -> str:
        """The device on which workers train on this machine and the driver measures time."""
        return default_device(self.gpu)


@dataclass(frozen=True)
class Pool:
    """The workers that fit on the available machines: `slots` at once, each of so many `processes` with `cpu` cores and
    `gpu` GPUs.

    count: the user's limit, if any. `slots` is as of the start; machines may join or leave later.
    """

    slots: int
    cpu: int
    gpu: float
    count: int | None = field(default=None, compare=False)
    processes: int = 1

    @property
    def places(self) -> int:
        """Processes at once, for work that needs one alone."""
        return self.slots * self.processes

    @property
    def bundles(self) -> list[dict[str, float]]:
        """The resources of a worker, process by process, as Ray wants them."""
        return [{"CPU": self.cpu} | ({"GPU": self.gpu} if self.gpu else {})] * self.processes

    def __str__(self) -> str:
        """What a run uses, for its user.

        >>> str(Pool(2, cpu=4, gpu=1.0, processes=8))
        '2 at once, each of 8 processes with 4 cores and 1 GPU'
        """
        of = f"of {self.processes} processes " if self.processes > 1 else ""
        cores = f"{self.cpu} core{'s' * (self.cpu > 1)}"
        return f"{self.slots} at once, each {of}with {cores} and {self.gpu:g} GPU"

    def slots_now(self) -> int:
        """The number of workers that fit on the machines currently alive."""
        import ray

        return _slots(self, [node["Resources"] for node in ray.nodes() if node["Alive"]])

    @property
    def device(self) -> str:
        return "cuda" if self.gpu else "cpu"


class Recent:
    """Caches a number for some seconds, such as the workers that fit on the machines currently alive."""

    def __init__(self, ask: Callable[[], int], seconds: float = 2.0):
        self._ask, self._seconds = ask, seconds
        self._until, self._known = 0.0, 0

    def __call__(self) -> int:
        if time.monotonic() >= self._until:
            self._known, self._until = self._ask(), time.monotonic() + self._seconds
        return self._known


@contextmanager
def session(workers: Workers) -> Iterator[Pool]:
    """A Ray session. Raises RunError if RAY_ADDRESS cannot be joined, no machine can hold one worker, or a run in
    another thread has a session of its own, which ends with that run."""
    with ExitStack() as stack:
        stack.enter_context(quiet_ray())
        import ray

        if not _SESSION.acquire(blocking=False):
            raise RunError("a run is at work in another thread: begin one after the other, or each in its own process")
        if ray.is_initialized():
            _SESSION.release()  # of the user's own Ray, which stays, any number of runs may make use
        else:
            stack.callback(_SESSION.release)
            address = os.environ.get("RAY_ADDRESS", "").strip() or "local"  # never a cluster that already runs here
            stack.enter_context(_own() if address == "local" else _joined(address))
        yield _pool(workers, ray.nodes())


@contextmanager
def _own() -> Iterator[None]:
    """Ray for this run only. Its ports are open on all interfaces; the token restricts access."""
    with private_folder() as folder, ExitStack() as stack:
        stack.callback(_read_access_anew)  # for a Ray that this process may begin later
        try:
            stack.enter_context(ray_access(folder))
            # Ray makes its folder world-writable (0777), so it is placed below a private one.
            stack.enter_context(_started("local", _temp_dir=str(folder / "r")))
        except Exception as error:  # Ray raises various types, bare Exception included
            free = shutil.disk_usage(folder).free / 1e6
            reason = " ".join(str(error).split())[:300]
            message = f"Ray cannot be started here ({reason}); {free:.1f} MB are free; TMPDIR names another folder"
            raise RunError(message, file=folder.parent) from None
        yield


@contextmanager
def _joined(address: str) -> Iterator[None]:
    """Joins a running cluster. Its access control was configured by whoever started it."""
    knock(address)
    if not has_ray_token() and os.environ.get("RAY_AUTH_MODE", "disabled") == "disabled":
        LOG.warning("RAY_ADDRESS=%s is joined without a token: whoever reaches it runs code (docs/cluster.md)", address)
    with ray_access(None), _started(address):
        yield


@contextmanager
def _started(address: str, **options: Any) -> Iterator[None]:
    """Ray between `init` and `shutdown`, which an interrupted or failed start needs as well."""
    import ray

    _read_access_anew()
    try:
        with _handlers_kept(), deferred():
            ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **options)
    except ConnectionError as error:
        message = f"no Ray cluster can be joined there ({error}); both sides need the same RAY_AUTH_MODE and token"
        raise RunError(message, path=f"RAY_ADDRESS={address}") from None
    except BaseException:
        _shut_down()
        raise
    try:
        yield
    finally:
        _shut_down()


def _shut_down() -> None:
    import ray

    ray.shutdown()
    rearm()


def _read_access_anew() -> None:
    """Make Ray reread RAY_AUTH_MODE (cached on import, perhaps long ago in a notebook) and the token (cached once)."""
    import ray._raylet

    raylet: Any = ray._raylet
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """Ray sets no handler of SIGTERM; its own would end the program without a word."""
    import ray._private.utils as theirs

    setter, theirs.set_sigterm_handler = theirs.set_sigterm_handler, lambda handler: None
    try:
        yield
    finally:
        theirs.set_sigterm_handler = setter


def pool_on(workers: Workers, machines: list[dict[str, float]]) -> Pool:
    """The workers that fit on machines with so many CPU and GPU, as Ray counts them; possibly none.

    >>> pool_on(Workers(cpu=2), [{"CPU": 4}, {"CPU": 3}]).slots
    3
    """
    any_gpu = any(machine.get("GPU") for machine in machines)
    gpu = (float(workers.ranks) if any_gpu else 0.0) if workers.gpu is None else workers.gpu
    one = Pool(0, workers.cpu, min(gpu, 1.0), workers.count, workers.ranks)
    return replace(one, slots=_slots(one, machines))


def _pool(workers: Workers, nodes: list[dict[str, Any]]) -> Pool:
    machines = [node["Resources"] for node in nodes if node["Alive"]]
    pool = pool_on(workers, machines)
    if not pool.slots:
        found = "; ".join(f"{machine.get('CPU', 0):g} CPU, {machine.get('GPU', 0):g} GPU" for machine in machines)
        each = f"{workers.ranks} processes, each of " if workers.ranks > 1 else ""
        wanted = f"{each}{workers.cpu} CPU and {pool.gpu:g} GPU"
        where = "the machines together hold no" if each else "no machine holds a"
        raise RunError(f"{where} worker of {wanted}: there is {found}", path="workers")
    return pool


def _slots(pool: Pool, machines: list[dict[str, float]]) -> int:
    processes = 0
    for machine in machines:
        fit = int(machine.get("CPU", 0) // pool.cpu)
        processes += min(fit, int(machine.get("GPU", 0) / pool.gpu + 1e-6)) if pool.gpu else fit
    slots = processes // pool.processes
    return min(slots, pool.count or slots)
