"""The table's bookkeeping; how well it predicts is a matter for a quiet machine (benchmarks), not for a test."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from nas.errors import RunError
from nas.genome import Genome, load_genome
from nas.model import Model
from nas.profiling import Throughput, latency, predicted_by_layer
from nas.profiling.latency import LatencyTable, device_file, known_parts, missing
from nas.profiling.parts import parts
from nas.profiling.tables import covering
from nas.search.parameter import ParameterSpec, expand
from nas.search.space import SearchSpace

MIXED = load_genome("mixed_digits")
CORES = ["softmax", "linear_angular"]


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    choice = ParameterSpec(choice=CORES)
    return SearchSpace(
        MIXED, [p for s, d in ((0, 3), (1, 4)) for p in expand(f"stages.{s}.layers.{{0..{d - 1}}}.core", choice)]
    )


def _covering(space: SearchSpace, seed: int) -> Iterator[Genome]:
    return covering(space.base, partial(space.sample, Random(seed)))


def measured(space: SearchSpace, seed: int = 0, keep: bool = True) -> LatencyTable:
    return LatencyTable.measure(_covering(space, seed), space.base, batch_size=64, keep=keep)


def test_few_genomes_cover_a_space(space: SearchSpace) -> None:
    genomes = list(_covering(space, 0))
    covered = {key for genome in genomes for key in parts(genome).values()}
    assert all(set(parts(space.genome(a)).values()) <= covered for a in space.every())
    assert len(genomes) < 10


def test_a_prediction_is_the_sum_of_the_parts(tmp_path: Path) -> None:
    keys = list(parts(MIXED).values())
    table = LatencyTable({key: 0.001 * (i + 1) for i, key in enumerate(dict.fromkeys(keys))}, "cpu", 1, 64)
    expected = sum(table.seconds[key] for key in keys)
    assert table.seconds_of(MIXED) == pytest.approx(expected)
    other = MIXED.edit({"stages.0.layers.0.core": "linear_angular"})
    assert table.seconds_of(other) > expected, "an unknown layer counts as the slowest known one"
    table.write(tmp_path / "latency.json")
    assert LatencyTable.read(tmp_path / "latency.json") == table


@pytest.fixture
def stopwatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Genome]:
    """An empty cache, a quiet machine, a base that takes 2 seconds, and parts that take 0.1 of that; who was timed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(latency.os, "getloadavg", lambda: (0.1, 0.1, 0.1))
    asked = []

    def part_times(genome: Genome, anchor: Genome, *, batch_size: int, device: str) -> dict[str, float]:
        assert anchor == MIXED
        asked.append(genome)
        return dict.fromkeys(parts(genome), 0.1)

    def throughput(model: Model, *, batch_size: int, device: str) -> Throughput:
        assert model.genome == MIXED
        return Throughput(batch_size / 2, 2.0, batch_size, 5, device, "float32", 1, False)

    monkeypatch.setattr(latency, "part_times", part_times)
    monkeypatch.setattr(latency, "throughput", throughput)
    return asked


def test_rows_of_a_genome_by_a_table_are_those_that_it_timed(tmp_path: Path) -> None:
    genome = load_genome("mixed_digits")
    keys = parts(genome)
    table = LatencyTable({keys["stages.0.layers.0"]: 0.002, keys[""]: 0.001, keys["stages.1"]: 0.003}, "cpu", 1, 64)
    table.write(tmp_path / "latency.json")
    found = predicted_by_layer(genome, LatencyTable.read(tmp_path / "latency.json"))
    assert found == {"stages.0.layers.0": 0.002, "stages.1.embed": 0.003, "head": 0.001} | {
        name: 0.002 for name, key in keys.items() if key == keys["stages.0.layers.0"]
    }


def test_a_device_is_asked_once_for_a_part(space: SearchSpace, stopwatch: list[Genome]) -> None:
    small = SearchSpace(MIXED, list(space.parameters[:2]))
    table = measured(small)
    assert table.seconds == pytest.approx(dict.fromkeys(table.seconds, 0.2))
    assert all(set(parts(small.genome(a)).values()) <= set(table.seconds) for a in small.every())
    assert stopwatch[0] == MIXED and len(stopwatch) > 1

    stopwatch.clear()
    known = known_parts(MIXED, "cpu", 64)
    assert set(known) == set(table.seconds)
    wide = measured(space)
    assert stopwatch and all(set(parts(genome).values()) - set(known) for genome in stopwatch)
    assert set(wide.seconds) == set(known_parts(MIXED, "cpu", 64)) > set(known)
    stopwatch.clear()
    again = measured(small, seed=1)
    assert stopwatch == [] == missing(_covering(space, 1), known_parts(MIXED, "cpu", 64))
    assert again == table, "a run's table holds what its space has"


def test_what_is_known_is_for_one_device_base_torch_and_source(
    stopwatch: list[Genome], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = load_genome("castling_digits")
    files = {device_file(MIXED, "cpu", 64), device_file(MIXED, "cpu", 1), device_file(other, "cpu", 64)}
    for owner, name, answer in (
        (latency, "_code_digest", "edited"),
        (latency, "device_name", "another"),
        (torch, "get_num_threads", 7),
        (torch, "__version__", "0.1"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, answer if name == "__version__" else lambda *_, answer=answer: answer)
            files.add(device_file(MIXED, "cpu", 64))
    assert len(files) == 7 and device_file(MIXED, "cpu", 64) in files


@pytest.mark.parametrize("damaged", ["{", "[]", "null", "{}", '{"multiples": null}', '{"multiples": {"a": "b"}}'])
def test_a_damaged_file_is_no_file(stopwatch: list[Genome], damaged: str) -> None:
    small = SearchSpace(MIXED, [])
    table = measured(small)
    device_file(MIXED, "cpu", 64).write_text(damaged)
    assert known_parts(MIXED, "cpu", 64) == {}
    assert measured(small) == table and known_parts(MIXED, "cpu", 64)


def test_a_busy_machine_a_preview_and_a_cache_that_cannot_be_written_leave_nothing(
    stopwatch: list[Genome], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = SearchSpace(MIXED, [])
    measured(small, keep=False)
    assert known_parts(MIXED, "cpu", 64) == {}
    with monkeypatch.context() as patch:
        patch.setattr(latency.os, "getloadavg", lambda: (64.0, 0.1, 0.1))
        measured(small)
    assert known_parts(MIXED, "cpu", 64) == {}
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert measured(small).seconds_of(MIXED) > 0
    assert known_parts(MIXED, "cpu", 64) == {}


def test_a_measured_table_gives_the_base_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pace = []

    def throughput(model: Model, **conditions: Any) -> Throughput:
        pace.append(measure(model, **conditions))
        return pace[-1]

    def part_times(genome: Genome, anchor: Genome, **conditions: Any) -> dict[str, float]:
        names = parts(genome)
        return dict.fromkeys(names, 1 / len(names))  # of the base's own time, in all

    measure = latency.throughput
    monkeypatch.setattr(latency, "throughput", throughput)
    monkeypatch.setattr(latency, "part_times", part_times)
    table = measured(SearchSpace(MIXED, []))
    assert table.seconds_of(MIXED) == pytest.approx(pace[0].median_seconds)


@pytest.mark.parametrize(
    "damaged",
    [
        *("{", '{"seconds": {}}', '{"seconds":{},"device":"","threads":1,"scale":0.9}'),
        '{"seconds":{"head x":1.0,"stage x":1.0},"device":"cpu","threads":1,"batch_size":1}',
    ],
)
def test_a_damaged_table_of_a_run_is_named(tmp_path: Path, damaged: str) -> None:
    (tmp_path / "latency.json").write_text(damaged)
    with pytest.raises(RunError, match=r"latency.json: (\w+: )?not a table of timings: .*delete it"):
        LatencyTable.read(tmp_path / "latency.json")
