"""`nas latency`: what is timed, by which runtime, and what the table says of it. The stopwatch is a stub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

import nas
from nas.errors import GenomeError, SpecError
from nas.genome import Genome, load_genome
from nas.plain_yaml import dump_yaml
from nas.profiling import LatencyTable, TargetTable
from nas.profiling.parts import parts
from nas.profiling.stopwatch import Timing
from nas.search import SearchSpec, latency
from nas.search.latency import measure_latency
from nas.serve import onnx

MIXED = load_genome("mixed_digits")
SPACE = {
    "base": "mixed_digits",
    "parameters": {"stages.{0,1}.layers.{0..2}.core": {"choice": ["softmax", "linear_angular"]}},
}


def spec(**keys: Any) -> SearchSpec:
    return SearchSpec.parse(SPACE | keys)


def seconds(key: str) -> float:
    return 1e-4 * (1 + sum(map(ord, key)) % 17)


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Genome, int, str]]:
    """Models take a tenth more than the sum of their parts; which were timed, in what batches, on what device."""
    asked: list[tuple[Genome, int, str]] = []

    def call(genome: Genome, batch_size: int, device: str) -> Callable[[], float]:
        asked.append((genome, batch_size, device))
        return lambda: sum(seconds(key) for key in parts(genome).values())

    def in_turns(calls: Iterable[Callable[[], float]], *, device: str) -> list[Timing]:
        return [Timing(1.1 * call(), 5, 1.0) for call in calls]

    def measure(genomes: Iterable[Genome], base: Genome, *, batch_size: int, device: str) -> LatencyTable:
        assert base == MIXED
        keys = {key for genome in genomes for key in parts(genome).values()}
        return LatencyTable({key: seconds(key) for key in keys}, device, torch.get_num_threads(), batch_size)

    monkeypatch.setattr(latency, "_torch_call", call)
    monkeypatch.setattr(latency, "_onnx_call", call)
    monkeypatch.setattr(latency, "in_turns", in_turns)
    monkeypatch.setattr(latency.LatencyTable, "measure", measure)
    return asked


@pytest.fixture
def no_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    find = onnx.importlib.util.find_spec
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))


def test_torch_times_parts_and_checks_whole_models(stopwatch: list[Any]) -> None:
    table = measure_latency(spec(), batch_size=2, threads=1)
    space = spec().space(MIXED)
    assert all(set(parts(space.genome(each)).values()) <= set(table.seconds) for each in space.every())
    assert (table.batch_size, table.threads, table.runtime, table.models) == (2, 1, "torch", None)
    assert (table.image, table.classes, table.base) == ((1, 8, 8), 10, MIXED.hash)
    assert set(table.versions) == {"nas", "torch"} and table.versions["nas"] == nas.__version__
    assert len(table.checked) == 5 and stopwatch[0][0] == MIXED
    assert {(batch, device) for _, batch, device in stopwatch} == {(2, "cpu")}
    for each, (genome, *_) in zip(table.checked, stopwatch, strict=True):
        assert each.predicted == pytest.approx(table.seconds_of(genome))
        assert each.error == pytest.approx(1 / 1.1 - 1)
    assert "off by 9.1 % in the median of 5 whole models" in table.accuracy


def test_onnx_times_whole_models_and_fits_parts(stopwatch: list[Any]) -> None:
    pytest.importorskip("onnxruntime")
    table = measure_latency(spec(), runtime="onnx")
    space = spec().space(MIXED)
    assert table.models is not None and len(table.models) + 5 == len(stopwatch)
    for assignment in space.every():
        genome = space.genome(assignment)
        assert table.determines(genome)
        assert table.seconds_of(genome) == pytest.approx(1.1 * sum(seconds(key) for key in parts(genome).values()))
    assert max(abs(each.error) for each in table.checked) < 1e-6
    assert set(table.versions) == {"nas", "torch", "onnxruntime"}


def test_a_space_of_few_graphs_is_checked_on_these(stopwatch: list[Any]) -> None:
    pytest.importorskip("onnxruntime")
    few = spec(parameters={"stages.1.layers.2.core": {"choice": ["softmax", "linear_angular"]}})
    assert [len(measure_latency(few, runtime=runtime).checked) for runtime in ("torch", "onnx")] == [2, 2]


def test_threads_are_set_for_the_measurement_alone(stopwatch: list[Any]) -> None:
    before = torch.get_num_threads()
    assert measure_latency(spec(), threads=before + 1).threads == before + 1
    assert torch.get_num_threads() == before


def test_data_is_not_needed_where_the_image_is_given(stopwatch: list[Any]) -> None:
    away = spec(data="imagefolder:/nowhere")
    image = {"image.size": 16, "image.channels": 3, "classes": 7}
    with pytest.raises(AssertionError):  # of the stub: another base than MIXED
        measure_latency(away, image=image)
    assert measure_latency(away, image={"image.size": 8}).image == (1, 8, 8)
    with pytest.raises(SpecError, match=r"nowhere"):
        measure_latency(away)
    with pytest.raises(GenomeError, match=r"base\.stages\.0\.patch: patch 2 does not divide the side 7"):
        measure_latency(away, image={"image.size": 7})


def test_wrong_runtimes_and_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(SpecError, match=r"--runtime: no runtime 'tvm'; allowed: onnx, torch"):
        measure_latency(spec(), runtime="tvm")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match=r"batch_size: expected at least 1, found 0"):
        measure_latency(spec(), batch_size=0)
    for device in ("cuda:7", "tpu"):
        with pytest.raises(SpecError, match=rf"--device: this onnxruntime runs on cpu.*, not on '{device}'"):
            measure_latency(spec(), runtime="onnx", device=device)


def test_without_onnxruntime_there_is_one_message(no_onnx: None) -> None:
    with pytest.raises(SpecError, match=r"^--runtime: ONNX needs onnxruntime: pip install 'nas-vit\[onnx\]'$"):
        measure_latency(spec(), runtime="onnx")


def test_a_model_runs_in_onnxruntime_in_batches() -> None:
    pytest.importorskip("onnxruntime")
    answers = latency._onnx_call(load_genome("lavit_digits"), 3, "cpu")()
    assert answers[0].shape == (3, 10)  # type: ignore[index]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parameters = {"stages.1.layers.2.core": {"choice": ["softmax", "linear_angular"]}}
    (tmp_path / "s.yaml").write_text(dump_yaml(SPACE | {"parameters": parameters}))
    return tmp_path


def test_the_command_writes_a_table_that_a_search_takes(folder: Path) -> None:
    """In a process of its own, with the stopwatch that there is."""
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", "COLUMNS": "150"}
    command = [sys.executable, "-m", "nas", "latency", "s.yaml", "--out", "made/table.json", "--device", "cpu"]
    done = subprocess.run([*command, "--threads", "1"], cwd=folder, env=env, capture_output=True, text=True, check=True)
    assert "torch, 1 thread, batches of 1" in done.stdout and "measured ms  predicted ms  error %" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("written      made/table.json; in the space: budget: {latency:")
    table = TargetTable.read(folder / "made/table.json")
    assert table.base == MIXED.hash and table.seconds_of(MIXED) > 0 and len(table.checked) == 2
    assert json.loads((folder / "made/table.json").read_text())["space"] == "s"
