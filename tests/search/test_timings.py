from __future__ import annotations

from pathlib import Path

import pytest

from nas.engine import Event
from nas.errors import RunError
from nas.genome import load_genome
from nas.metrics.estimate import estimator
from nas.profiling.latency import LatencyTable
from nas.profiling.parts import parts
from nas.search.parameter import ParameterSpec, expand
from nas.search.space import SearchSpace
from nas.search.timings import table_file, timings

MIXED = load_genome("mixed_digits")
TIMED = ["timing the parts of 2 models in single images,"]


@pytest.fixture
def space() -> SearchSpace:
    return SearchSpace(MIXED, expand("stages.0.layers.0.core", ParameterSpec(choice=["softmax", "linear_angular"])))


def test_a_run_has_a_table_for_each_batch_size_that_a_metric_needs(
    space: SearchSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    events: list[Event] = []

    def of(*metrics: str) -> dict[int, LatencyTable]:
        return timings(metrics, space, tmp_path, seed=0, device="cpu", on_event=events.append)

    assert of("accuracy", "macs", "peak_memory") == {} and events == []
    table = LatencyTable(dict.fromkeys(parts(MIXED).values(), 0.5), "a processor", 1, 64)
    table.write(table_file(tmp_path, 64))
    found = of("throughput", "latency")
    assert found[64] == table, "a run goes by the table that it was begun with"
    assert found[1].batch_size == 1 and found[1] != table
    assert [event.data["text"].split(" with ")[0] for event in events] == TIMED
    costs = estimator(["throughput", "latency"], found)(MIXED)
    assert costs["throughput"] == pytest.approx(64 / found[64].seconds_of(MIXED))
    assert costs["latency"] == pytest.approx(1000 * found[1].seconds_of(MIXED))


def test_the_files_of_a_run_are_told_apart_by_batch_size(space: SearchSpace, tmp_path: Path) -> None:
    assert table_file(tmp_path, 64).name == "latency.json"
    assert table_file(tmp_path, 1).name == "latency-1.json"
    table_file(tmp_path, 1).write_text("{")
    with pytest.raises(RunError, match=r"latency-1.json: not a table of timings"):
        timings(["latency"], space, tmp_path, seed=0, device="cpu", on_event=print)
