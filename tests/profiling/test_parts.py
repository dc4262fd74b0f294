from __future__ import annotations

import time
from itertools import accumulate, count
from typing import Any

import pytest
import torch

from nas.genome import load_genome
from nas.model import build, deploy
from nas.profiling.parts import _clock, part_times, parts, without_timeless


def test_equal_layers_share_a_key_and_training_aids_do_not_matter() -> None:
    castling = load_genome("castling_digits")
    found = parts(castling)
    assert set(found) == {name for name, _ in build(castling).named_modules() if name in found}
    assert found["stages.1.layers.1"] == found["stages.1.layers.2"] != found["stages.0.layers.1"]
    assert parts(castling.edit({"stages.*.auxiliary": None})) == found
    assert parts(castling.edit({"stages.0.local": None}))["stages.0.layers.0"] != found["stages.0.layers.0"]


def test_pixels_and_names_of_classes_take_no_time() -> None:
    genome = load_genome("mixed_digits")
    winner = genome.edit(
        {"preprocess": {"mean": [0.3], "std": [0.4]}, "class_names": [f"digit {label}" for label in range(10)]}
    )
    assert parts(winner) == parts(genome)
    old = parts(genome)["stages.0.layers.0"].replace('"class_names": null', '"class_names": ["a", "b"]')
    assert without_timeless(old) == parts(genome)["stages.0.layers.0"] != old


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"stem": "conv"}, "stages.0"),
        ({"embed_norm": True}, "stages.0"),
        ({"stage_norm": True}, "stages.0"),
        ({"stages.*.mlp": "depthwise"}, "stages.0.layers.0"),
        ({"layer_scale": 1e-5}, "stages.0.layers.0"),
        ({"qkv_bias": False}, "stages.0.layers.0"),
        ({"classes": 11}, ""),
        ({"pool": "token"}, ""),
    ],
)
def test_what_a_parts_time_depends_on_is_in_its_key(change: dict[str, Any], where: str) -> None:
    genome = load_genome("mixed_digits")
    assert parts(genome)[where] != parts(genome.edit(change))[where]


def test_an_attention_residual_depends_on_the_heads_that_it_adds_to() -> None:
    genome = load_genome("lavit_digits").edit({"stages.1.attention_residual": "flat"})
    assert parts(genome)["stages.1"] != parts(genome.edit({"stages.1.heads": 2}))["stages.1"]
    assert parts(genome)["stages.0"] == parts(genome.edit({"stages.1.heads": 2}))["stages.0"]


def test_the_parts_times_add_up_to_the_genomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that moves one second each time it is read: a plain forward takes one second, whatever the model."""
    monkeypatch.setattr(time, "perf_counter", count().__next__)
    genome = load_genome("mixed_digits")
    deep = genome.edit({"stages.0.layers": [{}] * 30})
    times = part_times(deep, genome, batch_size=8, device="cpu")
    assert set(times) == set(parts(deep)) and all(value > 0 for value in times.values())
    assert sum(times.values()) == pytest.approx(1.0), "as long as its anchor, by that clock"
    first = [value for name, value in times.items() if name.startswith("stages.0.layers.")]
    assert len(set(first)) == 1, "every layer is entered and left once"


def test_a_slow_layer_is_not_the_time_of_its_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that has another layer take nine seconds in each call, and the stage one before its first layer."""
    stages = [{"patch": 4, "width": 8, "heads": 1, "depth": 3}]
    genome = load_genome({"image": {"size": 8, "channels": 1}, "classes": 2, "stages": stages})
    steps = [step for a, b, c in ((9, 1, 1), (1, 9, 1), (1, 1, 9)) for step in (0, 0, 1, a, 0, b, 0, c, 0, 0)]
    monkeypatch.setattr(time, "perf_counter", accumulate(steps).__next__)
    model = deploy(build(genome))
    read = _clock(model, "cpu")
    with torch.inference_mode():
        for _ in range(3):
            model(torch.zeros(1, 1, 8, 8))
    assert read()["stages.0"] == 1
