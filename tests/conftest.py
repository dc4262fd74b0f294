"""What all tests share: hypothesis without deadlines (machines differ), one thread for models of this size (more of
them mostly wait for each other, above all on a busy machine), and one Ray session for each process.

Two processes share the tests (`ARGS="-n0"` for one, to debug). Those that start Ray and are of one file stay together,
of conversions those of the folder, whose conversion is made once. What tests decode and time goes to a cache of their
own: a device that is busy with tests should not be remembered by the timings that it gives then. As no test asserts on
these, they are taken in a tenth of the time.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import get_num_threads  # a test may replace torch's

from nas.engine import Pool, Workers, session
from nas.profiling import parts, stopwatch
from nas.signals import SIGNALS

settings.register_profile("nas", deadline=None, max_examples=50)
settings.load_profile("nas")
torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # xdist looks at the groups in a hook of its own, which may have been registered later
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"pool", "drivers"} & set(getattr(item, "fixturenames", ())):
            place = item.path.relative_to(Path(__file__).parent).with_suffix("").as_posix()
            together = "convert" if place.startswith("convert/") else place
            item.add_marker(pytest.mark.xdist_group(f"ray-{together}"))


@pytest.fixture(autouse=True)
def _threads_as_before() -> Iterator[None]:
    """Tests of one process come in an order that changes: one that leaves more threads would disturb any other."""
    before = get_num_threads()
    yield
    after = get_num_threads()
    torch.set_num_threads(before)
    assert after == before, f"the test leaves torch with {after} threads; it found {before}"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _hasty_stopwatch() -> Iterator[None]:
    patient = stopwatch.timed

    def hasty(*calls: Callable[[], object], device: str = "cpu", seconds: float = 0.5) -> list[list[float]]:
        return patient(*calls, device=device, seconds=seconds / 10)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stopwatch, "timed", hasty)
        patch.setattr(parts, "timed", hasty)
        yield


@pytest.fixture(scope="session")
def pool(_own_cache: None) -> Iterator[Pool]:
    """Two worker slots in a Ray session that starts with the first test that asks for it."""
    with session(Workers(count=2)) as pool:
        yield pool


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> ForkServerContext:
    """Starts the drivers that tests kill: of searches (tests/engine/drivers.py) and of conversions."""
    from tests.engine.drivers import fork_server

    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    # Read when ray is imported, and left as "token" by the session of `pool`.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    return fork_server()


@pytest.fixture
def signals_heeded() -> Iterator[None]:
    """No signal is ignored by the programs that a test starts: they inherit what nohup or a script's `&` ignores."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
