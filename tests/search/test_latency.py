"""The table's bookkeeping; how well it predicts is a matter for a quiet machine (benchmarks), not for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.cost.parts import parts
from nas.genome import Genome, load_genome
from nas.search import latency
from nas.search.domain import Domain
from nas.search.latency import LatencyTable, Timings, covering, device_file, missing
from nas.search.parameter import ParameterSpec, expand

MIXED = load_genome("mixed_digits")
CORES = ["softmax", "linear_angular"]


@pytest.fixture(scope="module")
def domain() -> Domain:
    choice = ParameterSpec(choice=CORES)
    return Domain(
        MIXED, [p for s, d in ((0, 3), (1, 4)) for p in expand(f"stages.{s}.layers.{{0..{d - 1}}}.core", choice)]
    )


def test_few_genomes_cover_a_space(domain: Domain) -> None:
    genomes = list(covering(domain, seed=0))
    covered = {key for genome in genomes for key in parts(genome).values()}
    assert all(set(parts(domain.genome(a)).values()) <= covered for a in domain.every())
    assert len(genomes) < 10


def test_a_prediction_is_the_sum_of_the_parts(tmp_path: Path) -> None:
    keys = list(parts(MIXED).values())
    table = LatencyTable({key: 0.001 * (i + 1) for i, key in enumerate(dict.fromkeys(keys))}, "cpu", 1, 64)
    expected = 64 / sum(table.seconds[key] for key in keys)
    assert table.images_per_second(MIXED) == pytest.approx(expected)
    other = MIXED.edit({"stages.0.layers.0.core": "linear_angular"})
    assert table.images_per_second(other) < expected, "an unknown layer counts as the slowest known one"
    table.write(tmp_path / "latency.json")
    assert LatencyTable.read(tmp_path / "latency.json") == table


@pytest.fixture
def stopwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Genome, Genome]]:
    """An empty cache, and a stopwatch that gives every part 0.1 of the anchor's 2 seconds; who was timed by whom."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked = []

    def part_times(genome: Genome, anchor: Genome, *, batch_size: int, device: str) -> tuple[dict[str, float], float]:
        asked.append((genome, anchor))
        return dict.fromkeys(parts(genome), 0.1), 2.0

    monkeypatch.setattr(latency, "part_times", part_times)
    return asked


def test_a_device_is_asked_once_for_a_part(domain: Domain, stopwatch: list[tuple[Genome, Genome]]) -> None:
    small = Domain(MIXED, list(domain.parameters[:2]))
    table = LatencyTable.measure(small, seed=0)
    assert table.seconds == pytest.approx(dict.fromkeys(table.seconds, 0.2))
    assert all(set(parts(small.genome(a)).values()) <= set(table.seconds) for a in small.every())
    assert stopwatch[0] == (MIXED, MIXED) and len(stopwatch) > 1

    stopwatch.clear()
    known = Timings.read("cpu")
    LatencyTable.measure(domain, seed=0)
    new = [genome for genome, _ in stopwatch]
    assert new and all(set(parts(genome).values()) - set(known.multiples) for genome in new)
    stopwatch.clear()
    again = LatencyTable.measure(domain, seed=1)
    assert stopwatch == [] and missing(domain, 1, Timings.read("cpu")) == []
    multiples = {key: value / again.seconds[key] for key, value in Timings.read("cpu").multiples.items()}
    assert len(set(multiples.values())) == 1, "today's pace of the anchor, times what the file has"


def test_another_space_is_timed_against_the_same_anchor(domain: Domain, stopwatch: list[tuple[Genome, Genome]]) -> None:
    LatencyTable.measure(domain, seed=0)
    castling = load_genome("castling_digits")
    table = LatencyTable.measure(Domain(castling, []), seed=0)
    assert stopwatch[-1] == (castling, MIXED)
    assert set(table.seconds) == set(parts(castling).values()), "a run's table holds what its space has"


def test_timings_are_for_one_device_and_source_and_a_damaged_file_is_none(
    domain: Domain, stopwatch: list[tuple[Genome, Genome]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Domain(MIXED, [])
    LatencyTable.measure(small, seed=0)
    file = device_file("cpu")
    with monkeypatch.context() as patch:
        patch.setattr(latency, "_source", lambda: "edited")
        assert device_file("cpu") != file and Timings.read("cpu") == Timings()
    file.write_text("{")
    assert Timings.read("cpu") == Timings()


def test_without_a_cache_a_search_times_for_itself(
    stopwatch: list[tuple[Genome, Genome]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert LatencyTable.measure(Domain(MIXED, []), seed=0).images_per_second(MIXED) > 0
    assert Timings.read("cpu") == Timings()


def test_a_measured_table_predicts_its_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for _ in range(2):  # timed, and then read
        table = LatencyTable.measure(Domain(MIXED, []), seed=0)
        assert table.images_per_second(MIXED) > 0
        assert set(table.seconds) == set(parts(MIXED).values())
