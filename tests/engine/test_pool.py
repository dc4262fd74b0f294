from __future__ import annotations

import socket
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from nas.engine import Pool, Workers
from nas.engine import pool as pools
from nas.engine.pool import _joined, _pool, session
from nas.environment import knock
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


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "[::1]:1", "no-such-host.invalid:6379", "127.0.0.1:99999", "ray://127.0.0.1:1"]
)
def test_a_cluster_that_is_not_there_is_missed_at_once(address: str) -> None:
    with pytest.raises(RunError, match=r"^RAY_ADDRESS=.*: no Ray cluster answers there \(.*; start its head"):
        knock(address)


def test_a_port_that_is_open_is_left_to_ray() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}", "auto"):
            knock(address)


@pytest.mark.parametrize(
    "address",
    ["head", "head:", ":6379", "http://head:8265", "head:6379/", "me@head:6379", "a b:1", "head:٣", "ray://", "h:-1"],
)
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(RunError, match=r"^RAY_ADDRESS: expected HOST:PORT, ray://HOST:PORT, auto or local, found '"):
        knock(address)


def test_a_cluster_without_a_token_is_joined_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for token, warnings in ({}, 1), ({"RAY_AUTH_TOKEN": "t"}, 0):
        monkeypatch.setattr("nas.engine.pool._started", lambda address: nullcontext())
        monkeypatch.setattr("nas.engine.pool.knock", lambda address: None)
        for name, value in token.items():
            monkeypatch.setenv(name, value)
        caplog.clear()
        with _joined("head:6379"):
            pass
        assert [record.getMessage().count("\n") for record in caplog.records] == [0] * warnings


def test_a_run_in_another_thread_does_not_take_the_ray_of_one_that_ends() -> None:
    said = list[str]()

    def second() -> None:
        with pytest.raises(RunError) as refused, session(Workers()):
            pass
        said.append(str(refused.value))

    with pools._SESSION:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert said == ["a run is at work in another thread: begin one after the other, or each in its own process"]
