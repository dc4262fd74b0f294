from __future__ import annotations

import json
import os

import pytest

from tests.profiling.target import table_of


@pytest.fixture
def asked(monkeypatch):
    """A device that answers at once; what it was asked."""
    calls = []

    def measure(spec, **conditions):
        calls.append((spec, conditions))
        conditions.pop("on_event")
        return table_of({"head {}": 0.5}, runtime=conditions["runtime"])

    monkeypatch.setattr("nas.api.measure_space", measure)
    return calls


def test_options_reach_the_stopwatch(nas, asked, tmp_path):
    arguments = ["latency", "mixed", "--out", "new/table.json", "--batch-size", 8, "--threads", 3, "--device", "cpu"]
    away = ["--image-size", 32, "--classes", 7, "--set", "seed=5", "--data", "cifar10"]
    answer = nas(*arguments, *away)
    assert answer.code == 0, answer.err
    assert "predictions are off by 15.0 % in the median of 2 whole models, 20.0 % at most" in answer.out
    assert "10.000        11.000    +10.0" in answer.out
    ((spec, conditions),) = asked
    assert (spec.seed, spec.data) == (5, "cifar10")
    image = {"image.size": 32, "classes": 7}
    assert conditions == {"batch_size": 8, "threads": 3, "device": "cpu", "runtime": "torch", "image": image}

    found = json.loads(nas("latency", "mixed", "--out", "t.json", "--runtime", "onnx", "--json").out)
    assert (found["file"], found["device"], found["runtime"]) == ("t.json", "Jetson", "onnx")
    assert asked[-1][1]["device"] == "cpu", "onnxruntime runs on the CPU unless it is told otherwise"
    written = json.loads((tmp_path / "t.json").read_text())
    assert written.pop("sha256")
    assert written == {key: value for key, value in found.items() if key != "file"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mixd", "--out", "t.json"], "did you mean mixed?"),
        (["mixed", "--out", "."], ".: --out: a file cannot be written there"),
        (["mixed", "--out", "file/t.json"], "file/t.json: --out: a file cannot be written there"),
        (["mixed", "--out", "pipe"], "pipe: --out: a file cannot be written there: a pipe or a device"),
        (["mixed", "--out", f"{'x' * 300}.json"], "--out: a name has at most 200 bytes"),
        (["mixed", "--out", "s3://bucket/t.json"], "--out: a path of this machine is expected, found an address"),
        (["mixed", "--out", "/proc/t.json"], "/proc/t.json: --out: a file cannot be written there: No such file"),
        (["mixed", "--out", "t.json", "--device", "tpu"], "--device: torch cannot use 'tpu'"),
        (["mixed", "--out", "t.json", "--runtime", "tvm"], "'tvm' is not one of 'torch', 'onnx'"),
        (
            ["mixed", "--out", "t.json", "--batch-size", "0"],
            "--batch-size': Input should be greater than or equal to 1",
        ),
        (["mixed"], "Missing option '--out'"),
    ],
    ids=str,
)
def test_mistakes_are_one_message_and_nothing_is_timed(nas, asked, tmp_path, arguments, message):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    answer = nas("latency", *arguments)
    assert answer.code == 2 and message in " ".join(answer.err.replace("│", " ").split()), answer.err
    assert asked == [] and "Traceback" not in answer.err and not (tmp_path / "t.json").exists()
