from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

import pytest

from nas.errors import RunError
from nas.genome import load_genome
from nas.metrics import batch_sizes, estimator
from nas.profiling.latency import LatencyTable
from nas.profiling.parts import parts
from nas.profiling.tables import Sample, run_tables, table_file
from nas.search.parameter import ParameterSpec, expand
from nas.search.space import SearchSpace

MIXED = load_genome("mixed_digits")
TIMED = ["timing the parts of 2 models in single images,"]


@pytest.fixture
def space() -> SearchSpace:
    return SearchSpace(MIXED, expand("stages.0.layers.0.core", ParameterSpec(choice=["softmax", "linear_angular"])))


def sample(space: SearchSpace) -> Callable[[], Sample]:
    return lambda: partial(space.sample, Random(0))


def test_a_run_has_a_table_for_each_batch_size_that_a_metric_needs(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    said: list[str] = []

    def of(*metrics: str) -> dict[int, LatencyTable]:
        return run_tables(batch_sizes(metrics), space.base, sample(space), tmp_path, device="cpu", say=said.append)

    assert of("accuracy", "macs", "peak_memory") == {} and said == []
    table = LatencyTable(dict.fromkeys(parts(MIXED).values(), 0.5), "a processor", 1, 64)
    table.write(table_file(tmp_path, 64))
    found = of("throughput", "latency")
    assert found[64] == table, "a run goes by the table that it was begun with"
    assert found[1].batch_size == 1 and found[1] != table
    assert [text.split(" with ")[0] for text in said] == TIMED
    costs = estimator(["throughput", "latency"], found)(MIXED)
    assert costs["throughput"] == pytest.approx(64 / found[64].seconds_of(MIXED))
    assert costs["latency"] == pytest.approx(1000 * found[1].seconds_of(MIXED))


def test_the_files_of_a_run_are_told_apart_by_batch_size(space: SearchSpace, tmp_path: Path) -> None:
    assert table_file(tmp_path, 64).name == "latency.json"
    assert table_file(tmp_path, 1).name == "latency-1.json"
    table_file(tmp_path, 1).write_text("{")
    with pytest.raises(RunError, match=r"latency-1.json: not a table of timings"):
        run_tables([1], space.base, sample(space), tmp_path, device="cpu", say=print)
