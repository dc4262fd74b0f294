"""The table of another device: a file that travels, in which nothing is guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nas.errors import GenomeError, RunError, SpecError
from nas.genome import load_genome
from nas.profiling import LatencyTable, TargetTable
from nas.profiling.parts import parts
from nas.profiling.target import described
from tests.profiling.target import table_for, table_of

MIXED = load_genome("mixed_digits")
KEYS = parts(MIXED)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    for models in (None, ((1,) * len(set(KEYS.values())),)):
        table = table_for([MIXED], models=models)
        table.write(tmp_path / "table.json")
        assert TargetTable.read(tmp_path / "table.json") == table
    assert table.seconds_of(MIXED) == pytest.approx(0.001 * len(KEYS))
    assert table.conditions == "Jetson, torch, 4 threads, batches of 1"
    assert table.accuracy == "off by 15.0 % in the median of 2 whole models, 20.0 % at most"


def test_an_unknown_part_is_refused_by_name() -> None:
    table = table_for([MIXED])
    other = MIXED.edit({"stages.1.layers.2.core": "linear_angular"})
    table.check(MIXED)
    with pytest.raises(GenomeError, match=r"on Jetson is not known: the table lacks a layer of linear_angular, 2×2"):
        table.check(other)
    assert table.lacking([MIXED]) == []
    assert table.lacking([MIXED, other, other])[0] == "a layer of linear_angular, 2×2 tokens of width 64, 4 heads"


def test_parts_in_words() -> None:
    assert described(KEYS["stages.0.layers.0"]) == "a layer of softmax, 4×4 tokens of width 32, 2 heads"
    assert described(KEYS["stages.1"]) == "a stage around its layers, 2×2 tokens of width 64"
    assert described(KEYS[""]) == "a head of width 64 for 10 classes"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"seconds": {"a": -1.0}}, "seconds.a: not .* at least 0"),
        ({"seconds": {"a": "fast"}}, "seconds.a"),
        ({"seconds": {"a": True}}, "seconds.a"),
        ({"seconds": {"a": "0.5"}}, "seconds.a"),
        ({"seconds": {"a": 0, "b": 0.0}}, "seconds: .*no part takes any time"),
        ({"seconds": {}}, "seconds"),
        ({"checked": []}, "checked"),
        ({"threads": 0}, "threads"),
        ({"runtime": "tvm"}, "runtime: .*'torch' or 'onnx', found 'tvm'"),
        ({"version": 2}, "version"),
        ({"further": 1}, "further"),
        ({"models": [[1, 2]]}, "models: .*a number for each part"),
        ({"models": [[10**400]]}, r"models\.0\.0: .*at most 1,000,000"),
        ({"models": [[-1]]}, r"models\.0\.0: .*at least 0"),
        ({"classes": 10**400}, "classes: .*at most 1,000,000"),
        ({"seconds": {"a": 1.7e308}}, r"seconds\.a: .*at most 1,000,000"),
        ({"checked": [{"genome": "a", "measured": 5e-324, "predicted": 1}]}, r"checked\.0\.measured: .*at least 1e-09"),
        ({"checked": [{"genome": "a", "measured": 1, "predicted": 1e300}]}, r"checked\.0\.predicted: .*at most"),
        ({"checked": [{"genome": "\x07", "measured": 1, "predicted": 1}]}, r"checked\.0\.genome: .*without control"),
        ({"device": "\ud800x"}, "device: .*expected text, found '.ud800x'"),
        ({"device": "T4\x1b[2J"}, "device: .*without control characters"),
        ({"device": "T" * 301}, "device: .*at most 300 characters"),
        ({"space": "a\nb"}, "space: .*without control characters"),
        ({"versions": {"nas": "\x07"}}, r"versions\.nas: .*without control characters"),
    ],
    ids=lambda given: ascii(given)[:40],
)
def test_a_wrong_value_is_named_by_file_and_key(tmp_path: Path, change: dict[str, Any], path: str) -> None:
    file = tmp_path / "table.json"
    table_of({"a": 0.1}).write(file)
    content = json.loads(file.read_text()) | change
    file.write_text(json.dumps({key: content[key] for key in content if key != "sha256"}))
    with pytest.raises(SpecError, match=rf"table\.json: {path}.*`nas latency SPACE --out FILE`") as refused:
        TargetTable.read(file)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("kind", [LatencyTable, TargetTable])
def test_a_time_that_has_changed_is_noticed(tmp_path: Path, kind: type[LatencyTable]) -> None:
    file = tmp_path / "table.json"
    seconds = {"head {}": 0.125, "stage {}": 0.5, "layer {}": 1.0}
    table = table_of(seconds) if kind is TargetTable else LatencyTable(seconds, "cpu", 1, 64)
    table.write(file)
    assert [*kind.read(file).seconds.values()] == [*seconds.values()]
    file.write_text(file.read_text().replace("0.125", "0.25"))
    with pytest.raises(SpecError, match=r"table\.json: .*a value has changed since it was written"):
        kind.read(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seconds": {"a {}": -0.1}}, r"seconds\.a {}: not a table of timings: expected at least 1e-15, found -0.1"),
        ({"seconds": {"a {}": 5e-324}}, r"seconds\.a {}: .*at least"),
        ({"seconds": {"a {}": 1.7e308}}, r"seconds\.a {}: .*at most 1,000,000"),
        ({"seconds": {"a {}": 10**400}}, r"seconds\.a {}: .*a number"),
        ({"seconds": {}}, "seconds: .*a length of at least 1"),
        ({"seconds": {"a": 0.1}}, "not a table of timings: "),
        ({"seconds": {"a x": 0.1}}, "not a table of timings: "),
        ({"seconds": {"a [1]": 0.1}}, "not a table of timings: "),
        ({"device": "\ud800x"}, "device: .*expected text, found"),
        ({"device": "T4\x1b[2J"}, "device: .*without control characters"),
        ({"threads": 10**400}, "threads: .*at most 1,000,000"),
        ({"batch_size": 0}, "batch_size: .*at least 1"),
    ],
    ids=lambda given: ascii(given)[:40],
)
def test_times_that_cannot_be_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = {"seconds": {"a {}": 0.1}, "device": "cpu", "threads": 1, "batch_size": 64} | change
    (tmp_path / "latency.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=rf"latency\.json: {message}") as refused:
        LatencyTable.read(tmp_path / "latency.json")
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "content", ["{", "[]", "null", '{"seconds": {"a": NaN}}', '{"seconds": {}, "device": "cpu"}', "\x00"]
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "table.json").write_text(content)
    with pytest.raises(SpecError, match=r"table\.json: .*not a table of another device"):
        TargetTable.read(tmp_path / "table.json")
    with pytest.raises(SpecError, match=r"not a table of another device"):
        TargetTable.read(tmp_path)
