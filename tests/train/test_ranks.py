"""A training by several processes is that by one: the same losses, whatever looks across images or is drawn for each.

The ranks are real processes that meet through a file. Legend: S steps.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.data import Augment, load
from nas.genome import load_genome
from nas.train import Result, Training, train
from nas.train.ranks import meeting

# Batch norm in the stem, drop path, a mask that ends, and images that are mixed.
SETTINGS: dict[str, Any] = {"drop_path": 0.2, "stem": "conv"}
PLAIN = Training(epochs=3, batch_size=32, limit=160, augment=Augment(erase=0.2))
MIXED = PLAIN.model_copy(update={"mixup": 0.8, "cutmix": 1.0, "accumulate": 2, "mixup_off_epoch": 2})


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def _rank(rank: int, count: int, place: Path, training: Training, double: bool, until: int | None) -> Result:
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    images = load("digits", limit=training.limit, validation=training.validation)
    genome = load_genome("castling_digits").edit(SETTINGS)
    with meeting(rank, count, f"file://{place}/meeting", "cpu") as ranks:
        return train(genome, images, training, directory=place, seed=3, threads=1, until=until, ranks=ranks)


def trained(
    processes: ProcessPoolExecutor,
    place: Path,
    count: int,
    training: Training,
    *,
    double: bool = False,
    until: int | None = None,
) -> Result:
    """What rank 0 gives, once all ranks are found to have the same losses."""
    place.mkdir(exist_ok=True)
    waiting = [processes.submit(_rank, rank, count, place, training, double, until) for rank in range(count)]
    first, *others = [each.result() for each in waiting]
    assert all(losses(other) == losses(first) for other in others)
    return first


def losses(result: Result) -> list[tuple[float, ...]]:
    skipped = ("seconds", "images_per_second_training")
    return [tuple(value for name, value in row.items() if name not in skipped) for row in result.metrics]


@pytest.mark.parametrize("training", [PLAIN, MIXED], ids=["plain", "mixed"])
def test_two_ranks_train_as_one_process_does(
    training: Training, processes: ProcessPoolExecutor, tmp_path: Path
) -> None:
    alone = losses(trained(processes, tmp_path / "alone", 1, training, double=True))
    together = losses(trained(processes, tmp_path / "together", 2, training, double=True))
    assert len(alone) == 3
    for one, two in zip(alone, together, strict=True):
        assert two == pytest.approx(one, rel=1e-9)


def test_a_training_goes_on_with_another_number_of_ranks(processes: ProcessPoolExecutor, tmp_path: Path) -> None:
    alone = losses(trained(processes, tmp_path / "alone", 1, PLAIN))
    trained(processes, tmp_path / "mixed", 2, PLAIN, until=1)
    trained(processes, tmp_path / "mixed", 1, PLAIN, until=2)
    mixed = losses(trained(processes, tmp_path / "mixed", 2, PLAIN))
    assert mixed[0][1] == pytest.approx(alone[0][1], rel=1e-5)
    for one, two in zip(alone, mixed, strict=True):
        assert two == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize("own", [None, "eth7"])
@pytest.mark.parametrize("local", [True, False])
def test_a_meeting_leaves_the_process_as_it_was(
    local: bool, own: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """own: what the user has set. On one machine the ranks talk through the loopback device, across machines not."""
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    if own is not None:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", own)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    before = dict(os.environ), sys.excepthook, list(warnings.filters), torch.get_num_threads()

    def failing_training() -> None:
        with meeting(0, 1, f"file://{tmp_path}/meeting" if local else f"tcp://127.0.0.1:{port}", "cpu"):
            assert os.environ.get("GLOO_SOCKET_IFNAME") == ("lo" if local else None)
            torch.set_num_threads(2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing_training()
    assert (dict(os.environ), sys.excepthook, list(warnings.filters), torch.get_num_threads()) == before
