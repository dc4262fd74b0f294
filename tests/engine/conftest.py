from __future__ import annotations

from multiprocessing.context import ForkServerContext

import pytest

from tests.engine.cluster import ROOT


@pytest.fixture
def drivers(monkeypatch: pytest.MonkeyPatch) -> ForkServerContext:
    """Starts the drivers of tests/engine/drivers.py."""
    from tests.engine.drivers import fork_server

    monkeypatch.syspath_prepend(ROOT)
    monkeypatch.setenv(
        "RAY_AUTH_MODE", "disabled"
    )  # read when ray is imported, and left as "token" by the session here
    return fork_server()
