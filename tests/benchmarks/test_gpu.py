"""`make gpu-check`, rehearsed: checks run on the CPU, find what is wrong, and cannot stop each other. No timings."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from benchmarks import table
from benchmarks.gpu import __main__ as command
from benchmarks.gpu import alone, crowded, device, loading, sharing, suite, timing, training
from benchmarks.gpu.check import Check, Found, Place
from benchmarks.gpu.listed import CHECKS
from nas.engine import Event, Ledger, Outcome
from nas.engine.worker import CrowdedError, run_job
from nas.search.run import SearchResult

# What stands for the process of a check: argv is as that process gets it.
PASSES = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--folder") + 1])
name = sys.argv[sys.argv.index("--one") + 1]
state = "failed" if name == "memory" else "skipped" if name == "nccl" else "passed"
print("a line of", name)
(folder / "found.json").write_text(json.dumps({"state": state, "found": f"{name} [red] was seen"}))
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, rehearsal=True)


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda code: monkeypatch.setattr(alone, "PROGRAM", (sys.executable, "-c", code))


@pytest.mark.parametrize(
    "run", [device.device, training.bfloat16, training.float16, training.weights, loading.streaming]
)
def test_a_check_passes_on_the_cpu(run: Any, place: Place) -> None:
    found: Found = run(place)
    assert found.text and not found.wrong
    json.dumps(found.figures)


def test_a_training_that_is_another_one_is_found(place: Place) -> None:
    (wrong,) = training.compared(place, {"slow": {"precision": "float32", "lr": 1e-4}}, bar=0.05).wrong
    assert wrong.startswith("lavit_digits in slow has a loss of")


def test_weights_that_are_others_are_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    build = training.build
    monkeypatch.setattr(training, "build", lambda name, weights: build(name))
    assert "the saved weights have" in training.weights(place).wrong[0]


def test_a_kernel_that_computes_wrongly_is_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([1.0, 1.1])
    monkeypatch.setitem(device.KERNELS, "matrix product", (lambda x: x * next(calls), ((3,),)))
    assert device.device(place).wrong[0].startswith("matrix product is")


def test_pixels_that_differ_are_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "BAR", -1.0)
    assert loading.streaming(place).wrong == ["pixels differ by 0.0e+00"]


@pytest.mark.parametrize(
    ("body", "state", "counts"),
    [("assert True", "passed", (1, 0)), ("assert False", "failed", (1, 1))],
)
def test_marked_tests_are_counted(place: Place, body: str, state: str, counts: tuple[int, int]) -> None:
    file = place.folder / "test_one.py"
    file.write_text(
        f"import pytest\n@pytest.mark.gpu\ndef test_one():\n    {body}\ndef test_other():\n    assert False\n"
    )
    found = suite.marked_tests(place, file)
    assert (found.figures["tests"], found.figures["failures"]) == counts
    assert bool(found.wrong) == (state == "failed")


def test_errors_of_timing_are_medians() -> None:
    rows = [
        {"at": "a", "predicted": 1.0, "stopwatch": watch, "events": 1.0, "disturbed": "noise"} for watch in (1, 1.05, 2)
    ]
    found, wrong = timing.judged(rows)
    assert found["a"] == pytest.approx({"predicted": 1 - 1 / 1.05, "stopwatch": 0.05}) and wrong == []
    slow = [row | {"events": 0.5} for row in rows]
    assert timing.judged(slow)[1] == ["a: stopwatch is 110.0% off events", "noise"]
    with torch.inference_mode():
        assert min(timing.milliseconds(lambda: torch.ones(3), "cpu")) > 0


def test_trials_per_minute_while_all_are_busy() -> None:
    ends = [30.0, 30.0, 32.0, 32.0, 34.0, 34.0, 36.0, 99.0]  # two at once, of 2 s each, but for the last one
    assert sharing.per_minute(ends, 2) == pytest.approx(60)
    assert sharing.per_minute([10.0, 12.0, 14.0, 16.0], 1) == pytest.approx(30)


@pytest.mark.parametrize(("most", "state", "wrong"), [(2, "complete", 0), (1, "complete", 1), (2, "failed", 1)])
def test_fractions_are_two_complete_trials_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, most: int, state: str, wrong: int
) -> None:
    def searched(spec: Any, folder: Path, on_event: Any) -> SearchResult:
        assert spec.workers.count == 2 and spec.workers.gpu == 0
        names = ["0000", "0001"]
        for batch in [names] if most == 2 else [names[:1], names[1:]]:
            for kind in ("started", "ended"):
                for name in batch:
                    on_event(Event(kind, name))  # type: ignore[arg-type]
        return SearchResult(folder, pd.DataFrame({"state": [state] * 2, "reason": ["why"] * 2}), pd.DataFrame())

    monkeypatch.setattr(sharing, "search", searched)
    found = sharing.fractions(place)
    assert len(found.wrong) == wrong and found.figures["at_once"] == most


def test_a_crowded_trial_completes_alone(place: Place) -> None:
    """The trials in threads, as the engine's driver has them in processes."""
    source = crowded.Three(Ledger(place.folder / "run"))
    work = crowded.Crowd(crowded.trainjob(place), place.folder, free=None)
    jobs = [source.next(), source.next()]
    errors = []

    def beside(job: Any) -> None:
        try:
            source.tell(job, run_job(job, work, lambda row: None, neighbours=True))
        except CrowdedError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=beside, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == ["out of memory: CUDA out of memory. (rehearsed)"]
    source.tell(jobs[1], run_job(jobs[1], work, lambda row: None))  # type: ignore[arg-type]
    assert crowded.judged(source.told, crowded.attempts_in(place.folder)) == []


def test_trials_that_were_not_crowded_are_found() -> None:
    told = {number: Outcome("complete") for number in range(3)}
    assert crowded.judged(told, [(1, 0.0, 1.0), (0, 0.0, 2.0)])[0].startswith("memory did not run out")
    beside = [(1, 0.0, 1.0), (0, 0.0, 2.0), (1, 1.5, 3.0)]
    assert crowded.judged(told, beside) == ["trial 1 was not alone the second time, but beside [0]"]
    failed = told | {1: Outcome("failed", reason="out of memory")}
    assert crowded.judged(failed, [*beside[:2], (1, 2.5, 3.0)]) == ["trial 1 is failed: out of memory"]


@pytest.mark.parametrize(
    ("code", "limit", "found"),
    [
        ("import os; print('so far'); os.abort()", 60, "its process ended by signal 6, without an answer"),
        ("raise SystemExit(3)", 60, "its process ended with status 3, without an answer"),
        ("print('so far', flush=True); import time; time.sleep(60)", 1, "was ended after 1 s, its time limit"),
    ],
)
def test_a_process_that_dies_or_hangs_is_a_failed_check(
    place: Place, program: Any, code: str, limit: float, found: str
) -> None:
    program(code)
    answer = alone.answer_of(Check("one", lambda place: Found(""), "do this", limit=limit), place)
    assert (answer.state, answer.found, answer.remedy) == ("failed", found, "do this")
    assert answer.output in (["so far"], [])


def test_what_a_check_raises_is_its_answer(place: Place) -> None:
    def raises(place: Place) -> Found:
        raise RuntimeError("no kernel image\nis available")

    alone.run_here(Check("one", raises, "do this"), place)
    assert json.loads((place.folder / "found.json").read_text()) == {
        "state": "failed",
        "found": "RuntimeError: no kernel image",
    }


def test_all_checks_are_shown_and_kept(
    tmp_path: Path, program: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    program(PASSES)
    assert command.main(["--rehearse", "--out", str(tmp_path)]) == 1
    kept = json.loads((tmp_path / "gpu-check-rehearsal.json").read_text())
    assert [check["name"] for check in kept["checks"]] == [check.name for check in CHECKS]
    (failed,) = [check for check in kept["checks"] if check["state"] == "failed"]
    assert failed["output"] == ["a line of memory"] and failed["remedy"]
    shown = capsys.readouterr().out
    assert "memory [red] was seen" in shown and f"to do: {failed['remedy'][:40]}" in shown
    assert "10 passed, 1 failed, 1 skipped" in shown
    table.write(tmp_path, tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text() == table.rendered([])


def test_one_check_alone_is_not_kept(tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    program(PASSES)
    assert command.main(["--rehearse", "--only", "timing", "--out", str(tmp_path)]) == 0
    assert list(tmp_path.iterdir()) == []
    assert command.main(["--rehearse", "--only", "time"]) == 2
    monkeypatch.setattr(alone, "answer_of", pytest.fail)
    assert command.main(["--rehearse", "--out", "/dev/null"]) == 2


def test_without_a_gpu_there_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main([]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("gpu-check: there is no NVIDIA GPU") and said.err.count("\n") == 1


def test_files_are_named_after_the_device() -> None:
    answer = alone.Answer("device", "passed", 1.0, "", figures={"gpu": "NVIDIA H100 80GB HBM3"})
    assert command.slug([answer], False) == "nvidia-h100-80gb-hbm3"
    assert command.slug([], False) == "unknown"
