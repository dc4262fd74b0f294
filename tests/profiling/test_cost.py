"""Cost by formula against torch's counter on `meta`, and against the built model; the stopwatch's conditions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch.utils.flop_counter import FlopCounterMode

import nas
from nas.profiling import stopwatch, throughputs
from nas.profiling.stopwatch import TURNS, timed
from tests.genome.test_genome import genomes


def counted(genome: nas.Genome) -> tuple[float, int]:
    with torch.device("meta"):
        served = nas.deploy(nas.build(genome))
        images = torch.empty(1, genome.image.channels, genome.image.size, genome.image.size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        served(images)
    return counter.get_total_flops() / 2, sum(p.numel() for p in served.parameters())


@pytest.mark.parametrize("name", nas.list_presets())
def test_formula_equals_counter_for_every_preset(name: str) -> None:
    genome = nas.load_genome(name)
    cost = nas.cost(genome)
    assert (cost.macs, cost.params) == counted(genome)
    assert isinstance(cost.macs, int) and isinstance(cost.params, int)


@settings(max_examples=40, deadline=None)
@given(genomes())
def test_formula_equals_counter_for_any_genome(data: dict[str, Any]) -> None:
    genome = nas.Genome.parse(data)
    cost = nas.cost(genome)
    assert (cost.macs, cost.params) == counted(genome)
    assert cost.macs == sum(layer.macs for layer in cost.layers)


@pytest.mark.parametrize(("patch", "width"), [(2, 5), (4, 7), (8, 4), (16, 24)])
def test_formula_counts_the_stem_of_convolutions(patch: int, width: int) -> None:
    stage = {"patch": patch, "width": width, "heads": 1, "depth": 1}
    genome = nas.Genome.parse({"image": {"size": 2 * patch}, "classes": 2, "stem": "conv", "stages": [stage]})
    cost = nas.cost(genome)
    assert (cost.macs, cost.params) == counted(genome)


@pytest.mark.parametrize("form", ["flat", "separable"])
def test_formula_counts_the_attention_residual(form: str) -> None:
    genome = nas.load_genome("lavit_digits").edit(
        {"stages.1.attention_residual": form, "stages.0.tail.path": "factored"}
    )
    cost = nas.cost(genome)
    assert (cost.macs, cost.params) == counted(genome)
    assert "stages.1.residual" in {layer.name for layer in cost.layers}


@pytest.mark.parametrize(
    ("name", "params", "gmacs"), [("deit_tiny", 5.717e6, 1.254), ("castling_deit_tiny", 5.711e6, 1.137)]
)
def test_anchors_from_the_papers(name: str, params: float, gmacs: float) -> None:
    cost = nas.cost(name)
    assert cost.params == pytest.approx(params, rel=1e-3) and cost.macs == pytest.approx(gmacs * 1e9, rel=1e-3)


def test_throughput_states_its_conditions() -> None:
    before = torch.get_num_threads()
    measured = nas.throughput(nas.build("lavit_digits"), batch_size=16, threads=1, seconds=0.05)
    assert torch.get_num_threads() == before
    assert (measured.device, measured.dtype, measured.threads, measured.batch_size) == ("cpu", "float32", 1, 16)
    assert measured.batches >= 5
    assert measured.images_per_second == pytest.approx(16 / measured.median_seconds)


def test_calls_that_are_compared_take_turns_and_the_first_of_a_turn_does_not_count() -> None:
    ran: list[str] = []
    found = timed(lambda: ran.append("a"), lambda: ran.append("b"), seconds=0.0)
    assert "".join(ran) == "aabb" + "aabb" * TURNS
    assert [len(times) for times in found] == [TURNS, TURNS]
    ran.clear()
    timed(lambda: ran.append("a"), seconds=0.0)
    assert len(ran) == 2 + TURNS


def test_a_machine_that_slows_down_does_not_change_a_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same model three times, on a clock that runs slower with every reading."""
    clock = iter(1.01**reading for reading in range(10_000))
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(clock))
    model = nas.build("mixed_digits")
    speeds = [found.images_per_second for found in throughputs([model] * 3, batch_size=1, seconds=0.0)]
    assert max(speeds) / min(speeds) < 1.1
    alone = [nas.throughput(model, batch_size=1, seconds=0.0).images_per_second for _ in range(3)]
    assert max(alone) / min(alone) > 1.2
    assert throughputs([]) == []
