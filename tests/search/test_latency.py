"""The table's bookkeeping; how well it predicts is a matter for a quiet machine (benchmarks), not for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.genome import load_genome
from nas.model import build, deploy
from nas.search.domain import Domain
from nas.search.latency import LatencyTable, clock, covering, parts
from nas.search.parameter import ParameterSpec, expand

MIXED = load_genome("mixed_digits")
CORES = ["softmax", "linear_angular"]


@pytest.fixture(scope="module")
def domain() -> Domain:
    choice = ParameterSpec(choice=CORES)
    return Domain(
        MIXED, [p for s, d in ((0, 3), (1, 4)) for p in expand(f"stages.{s}.layers.{{0..{d - 1}}}.core", choice)]
    )


def test_equal_layers_share_a_key_and_training_aids_do_not_matter() -> None:
    castling = load_genome("castling_digits")
    found = parts(castling)
    assert set(found) == {name for name, _ in build(castling).named_modules() if name in found}
    assert found["stages.1.layers.1"] == found["stages.1.layers.2"] != found["stages.0.layers.1"]
    assert parts(castling.edit({"stages.*.auxiliary": None})) == found
    assert parts(castling.edit({"stages.0.local": None}))["stages.0.layers.0"] != found["stages.0.layers.0"]


def test_few_genomes_cover_a_space(domain: Domain) -> None:
    genomes = list(covering(domain, seed=0))
    covered = {key for genome in genomes for key in parts(genome).values()}
    assert all(set(parts(domain.genome(a)).values()) <= covered for a in domain.every())
    assert len(genomes) < 10


def test_a_clock_splits_a_model_into_its_parts() -> None:
    seconds = clock(deploy(build(MIXED)), "cpu")
    assert set(seconds) == set(parts(MIXED))
    assert all(value > 0 for value in seconds.values())


def test_a_prediction_is_the_sum_of_the_parts(tmp_path: Path) -> None:
    keys = list(parts(MIXED).values())
    table = LatencyTable({key: 0.001 * (i + 1) for i, key in enumerate(dict.fromkeys(keys))}, 2.0, "cpu", 1, 64)
    expected = 64 / (2.0 * sum(table.seconds[key] for key in keys))
    assert table.images_per_second(MIXED) == pytest.approx(expected)
    other = MIXED.edit({"stages.0.layers.0.core": "linear_angular"})
    assert table.images_per_second(other) < expected, "an unknown layer counts as the slowest known one"
    table.write(tmp_path / "latency.json")
    assert LatencyTable.read(tmp_path / "latency.json") == table


def test_a_measured_table_knows_the_whole_space(domain: Domain) -> None:
    small = Domain(MIXED, list(domain.parameters[:2]))
    table = LatencyTable.measure(small, seed=0)
    for assignment in small.every():
        genome = small.genome(assignment)
        assert set(parts(genome).values()) <= set(table.seconds)
        assert table.images_per_second(genome) > 0
