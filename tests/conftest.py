"""What all tests share: hypothesis without deadlines (machines differ), one thread for models of this size (more of
them mostly wait for each other, above all on a busy machine), and one Ray session for the whole run.

Two processes share the tests (`ARGS="-n0"` for one, to debug): whatever starts Ray is one group in one of them, and
waits more than it computes.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from nas.engine import Pool, Workers, session

settings.register_profile("nas", deadline=None, max_examples=50)
settings.load_profile("nas")
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"pool", "drivers"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    """Two worker slots in a Ray session that starts with the first test that asks for it."""
    with session(Workers(count=2)) as pool:
        yield pool
