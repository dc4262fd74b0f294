from __future__ import annotations

import socket
from typing import Any

import pytest

from nas.engine import Pool, Workers
from nas.engine.pool import _knock, _pool
from nas.errors import RunError


def node(cpu: float, gpu: float = 0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpu} | ({"GPU": gpu} if gpu else {})}


@pytest.mark.parametrize(
    ("workers", "nodes", "pool"),
    [
        ({}, [node(2)], Pool(2, 1, 0.0)),
        ({"cpu": 2}, [node(7)], Pool(3, 2, 0.0)),
        ({"cpu": 4}, [node(6), node(6), node(64, alive=False)], Pool(2, 4, 0.0)),
        ({"count": 3}, [node(16)], Pool(3, 1, 0.0)),
        ({}, [node(16, gpu=2), node(16)], Pool(2, 1, 1.0)),
        ({"gpu": 0.5}, [node(16, gpu=2)], Pool(4, 1, 0.5)),
        ({"gpu": 0.1}, [node(16, gpu=1)], Pool(10, 1, 0.1)),
        ({"gpu": 0.5, "cpu": 4}, [node(8, gpu=8)], Pool(2, 4, 0.5)),
        ({"gpu": 0}, [node(4, gpu=1)], Pool(4, 1, 0.0)),
    ],
)
def test_as_many_workers_as_fit_on_each_machine(workers: dict[str, Any], nodes: list[dict], pool: Pool) -> None:
    assert _pool(Workers(**workers), nodes) == pool


def test_the_device_follows_the_gpus() -> None:
    assert _pool(Workers(), [node(1, gpu=1)]).device == "cuda"
    assert _pool(Workers(gpu=0), [node(1, gpu=1)]).device == "cpu"


@pytest.mark.parametrize("workers", [{"cpu": 8}, {"gpu": 1}, {"cpu": 3}])
def test_a_worker_that_fits_nowhere_is_refused(workers: dict[str, Any]) -> None:
    with pytest.raises(RunError, match=r"workers: no machine holds .* there is 2 CPU, 0 GPU; 2 CPU, 0 GPU"):
        _pool(Workers(**workers), [node(2), node(2)])


@pytest.mark.parametrize("address", ["127.0.0.1:1", "[::1]:1", "no-such-host.invalid:6379", "127.0.0.1:99999999"])
def test_a_cluster_that_is_not_there_is_missed_at_once(address: str) -> None:
    with pytest.raises(RunError, match=r"^RAY_ADDRESS=.*: no Ray cluster answers there \(.*; start its head"):
        _knock(address)


def test_a_port_that_is_open_and_addresses_of_other_forms_are_left_to_ray() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        for address in (f"127.0.0.1:{server.getsockname()[1]}", "local", "auto", "ray://127.0.0.1:1"):
            _knock(address)
