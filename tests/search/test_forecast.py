from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from nas.data import ImageSet, load
from nas.genome import Genome, load_genome
from nas.model import Model
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec, forecast
from nas.search.forecast import START, STOPWATCH, WINNERS
from nas.search.schedulers import make_scheduler
from nas.train import Result, Training, train
from tests.search.simulation import LAVIT


def space(**keys: object) -> SearchSpec:
    training = {"epochs": 9, "batch_size": 20}
    return SearchSpec.parse(parse_yaml(LAVIT) | {"training": training, "trials": 10, "workers": {"count": 1}} | keys)


@pytest.fixture
def images() -> ImageSet:
    return load("digits", limit=500)


@pytest.fixture
def paces(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Genome, int, int]]:
    """A training that claims 1 s for 100 training images and for 1000 validation images; what it was called with."""
    calls: list[tuple[Genome, int, int]] = []

    def claimed(genome: Genome, few: ImageSet, training: Training, **others: Any) -> Result:
        calls.append((genome, len(few.train), len(few.validation)))
        seconds = len(few.train) / 100 + len(few.validation) / 1000
        row = {"epoch": 1, "accuracy": 0.5, "images_per_second_training": 100.0, "seconds": seconds}
        return Result.of([row, row | {"epoch": 2}])

    monkeypatch.setattr("nas.train.loop.train", claimed)
    return calls


def test_what_a_search_takes_is_multiplied_from_what_a_step_takes(images: ImageSet, paces: list[Any]) -> None:
    genomes = [load_genome("lavit_digits").edit({"stages.0.split": split}) for split in (1, 2, 3)]
    found = forecast.forecast(space(), genomes, images, loading=0.25)
    assert [call[1:] for call in paces] == [(80, 100)] * 3
    assert found.trials == pytest.approx([9 * (400 / 100 + 100 / 1000)] * 3, abs=1e-3)
    assert (found.start, found.slots, found.trainings) == (START + 0.25, 1, 10)
    assert found.winners == pytest.approx(WINNERS * (STOPWATCH + len(images.test) / 1000), abs=1e-3)
    assert found.seconds == pytest.approx(found.start + 10 * found.trials[0] + found.winners, abs=0.1)

    twice = forecast.forecast(space(repeat=3, baseline="random"), genomes, images, loading=0.25)
    assert twice.trainings == 60


def test_halving_spares_epochs(images: ImageSet, paces: list[Any]) -> None:
    halved = space(halving={"first": 1, "factor": 3})
    epochs = make_scheduler(halved.scheduler, 9).mean_epochs()
    assert epochs == 1 + 2 / 3 + 6 / 9
    found = forecast.forecast(halved, [load_genome("lavit_digits")], images, loading=0)
    assert found.trials == pytest.approx([epochs * 4.1], abs=1e-3)


def test_timing_ends_in_time(images: ImageSet, paces: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecast, "BUDGET", 0.0)
    genomes = [load_genome("lavit_digits")] * 5
    assert len(forecast.forecast(space(), genomes, images, loading=0).trials) == 2
    compiled = space(training={"epochs": 9, "compile": True})
    assert len(forecast.forecast(compiled, genomes, images, loading=0).trials) == 1


def test_a_large_genome_is_shown_fewer_images(
    images: ImageSet, paces: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = 0.05  # seconds per image: four steps of 20 would take 24 s
    monkeypatch.setattr(forecast, "seconds_per_image", lambda genome, device: slow)
    found = forecast.forecast(space(), [load_genome("lavit_digits")], images, loading=0)
    (_, learned, evaluated) = paces[0]
    assert 2 * 3 * slow * learned + 2 * slow * evaluated < 2 * forecast.PACE
    assert found.trials == pytest.approx([9 * (400 / 100 + 100 / 1000)], abs=1e-3)  # the same per image
    monkeypatch.setattr(forecast, "seconds_per_image", lambda genome, device: 100.0)
    forecast.forecast(space(), [load_genome("lavit_digits")], images, loading=0)
    assert paces[1][1:] == (4, 1)


def test_a_genome_that_does_not_fit_in_memory(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*arguments: Any, **others: Any) -> Result:
        raise RuntimeError("CUDA out of memory.\nTried to allocate 20 GiB")

    monkeypatch.setattr("nas.train.loop.train", exhausted)
    found = forecast.forecast(space(), [load_genome("lavit_digits")], images, loading=0)
    assert (found.trials, found.failure) == ([], "CUDA out of memory.")


def test_it_is_what_a_training_takes(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only images move: 3 ms each in training, 1 ms in evaluation."""
    now = 0.0
    forward = Model.forward

    def clocked(self: Model, images_BCHW: Tensor, **others: Any) -> Any:
        nonlocal now
        now += len(images_BCHW) * (0.003 if self.training else 0.001)
        return forward(self, images_BCHW, **others)

    monkeypatch.setattr(Model, "forward", clocked)
    monkeypatch.setattr("time.perf_counter", lambda: now)
    genome = load_genome("lavit_digits")
    found = forecast.forecast(space(), [genome], images, loading=0)
    begin = now
    train(genome, images, space().training, directory=tmp_path, seed=0, threads=1)
    assert found.trials == pytest.approx([now - begin])


def test_the_processes_of_a_trial_share_its_images(images: ImageSet, paces: list[Any]) -> None:
    together = space(workers={"cpu": 1, "processes": 2})
    found = forecast.forecast(together, [load_genome("lavit_digits")], images, loading=0)
    assert found.trials == pytest.approx([9 * (200 / 100 + 50 / 1000)], abs=1e-3)


@pytest.mark.parametrize(
    ("workers", "slots"),
    [
        ({}, 8), ({"cpu": 3}, 2), ({"processes": 3}, 2), ({"cpu": 2, "processes": 2, "count": 1}, 1),
        ({"processes": 99}, 1), ({"count": 5}, 5),
    ],
)  # fmt: skip
def test_workers_that_fit_on_this_machine(
    images: ImageSet, paces: list[Any], monkeypatch: pytest.MonkeyPatch, workers: dict[str, int], slots: int
) -> None:
    monkeypatch.setattr(forecast, "hardware", lambda: {"cores": 8, "gpus": []})
    found = forecast.forecast(space(workers=workers), [load_genome("lavit_digits")], images, loading=0)
    assert found.slots == slots
