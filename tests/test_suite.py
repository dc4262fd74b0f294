"""How the tests themselves are run."""

from __future__ import annotations

import os

import pytest

from nas.engine import Pool


@pytest.mark.skipif("PYTEST_XDIST_WORKER" not in os.environ, reason="one process runs all tests")
def test_whatever_starts_ray_in_a_file_is_a_group_in_one_process(request: pytest.FixtureRequest, pool: Pool) -> None:
    assert request.node.nodeid.endswith("@ray-test_suite")
