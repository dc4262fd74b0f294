"""A run directory of 10,000 trials: CPU seconds and memory to report it, to resume it, and to rebuild its study.

The directory is made by the product's own search without training (simulated.py, random sampler, the space of
scale.py), with run.yaml, ten epochs of metrics.csv in each trial directory, a genome in 500 that fails, and winners
with weights and results on test. It is kept in memory where the system has such a place. Each step then runs in a fresh
process, as a command would:

    report      `nas report`: page and figures
    resume      the run is opened, its decisions are replayed into the default sampler, and the next job is issued;
                study and retention of weights follow it as in a search
    study       optuna.db is deleted and written anew
    driver      the search goes on for two trials with Ray, which a worker trains on digits, and writes front, winners
                and report: the whole of `nas search`

Seconds are CPU seconds of the process and of those that it waits for, the imports included; memory is its peak (VmHWM
of Linux). Each figure is the median of three rounds of all steps, with the least and the most. To import torch takes
more than half of the memory of a driver, and of that a large part is code of its libraries: pages of files, which all
processes of a machine share and which the system can drop. So the peak without them is said as well: what is the
process's own (VmHWM − RssFile). `nas report` does not import torch.
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from rich.console import Console
from safetensors.torch import save_file

from benchmarks import scale
from benchmarks.contest import met
from benchmarks.machine import Setting
from benchmarks.simulated import candidates, finished, scratch
from nas.api import run_search
from nas.engine import Event, Job, Ledger, Outcome, Run
from nas.engine.events import ignore
from nas.engine.record import write_record
from nas.files import write_json
from nas.metrics import estimator
from nas.model import build
from nas.report.live import Progress
from nas.search import SearchSpec
from nas.search.pareto import front_of
from nas.search.recorded import recorded
from nas.search.retention import WeightRetention
from nas.search.study import BATCH, Study, StudyWriter
from nas.search.winners import write_front

TRIALS, EPOCHS, FAILED = 10_000, 10, 500  # one in 500 fails
ROUNDS = 3
_BARS = {  # step: CPU seconds, MB in all, MB of its own
    "report": (10.0, 500.0, None),
    "resume": (10.0, 1000.0, 500.0),
    "study": (60.0, 1000.0, 500.0),
    "driver": (None, 1000.0, None),
}
_REPORT = """
import os, sys
from pathlib import Path
from nas.cli import app
app(["report", sys.argv[1]], standalone_mode=False)
line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
print(sum(os.times()[:4]), 1024 * int(line.split()[1]))
"""
_STEP = """
import sys
from pathlib import Path
import nas.api  # all that the driver of a search imports
from benchmarks import large_run
print(*large_run.measured(sys.argv[1], Path(sys.argv[2])))
"""
_COLUMNS = (
    *("epoch", "loss", "cross_entropy", "gradient_norm"),
    *("accuracy", "lr", "images_per_second_training", "seconds"),
)  # of a training without an auxiliary loss


def run(setting: Setting, trials: int = TRIALS) -> list[dict[str, Any]]:
    """One result with the rows of each step."""
    with scratch() as folder:
        _in_a_process(partial(make, folder, trials))
        found: dict[str, list[list[float]]] = {step: [] for step in _BARS}
        for _ in range(ROUNDS):
            for step in _STEPS:
                found[step].append(_in_python(_STEP, step, str(folder)))
            found["report"].append(_in_python(_REPORT, str(folder)))
    return [{"at": f"{trials:,} trials", "rows": rows(found, trials)}]


def rows(measured: dict[str, list[list[float]]], trials: int) -> list[dict[str, Any]]:
    """measured: by step, for each round: CPU seconds, bytes in all, and bytes of its own."""
    made = []
    units = ("CPU seconds", "MB", "MB of its own")
    for step, bars in _BARS.items():
        for unit, values, bar in zip(units, zip(*measured[step], strict=True), bars, strict=False):
            scaled = [value if unit == "CPU seconds" else value / 1e6 for value in values]
            figure = {"value": statistics.median(scaled), "low": min(scaled), "high": max(scaled)}
            row = {"what": f"{step}, {unit}", "against": "—", "at": f"{trials:,} trials", "about": "cost"}
            row |= {"bar": bar, "upper": True, "ratio": figure, "met": met(figure["value"], bar, True)}
            made.append(row | {"limit": ""})
    return made


def make(folder: Path, trials: int) -> None:
    """A run that has ended, as a search leaves it."""
    spec = scale.space_of("random", trials)
    write_record(
        folder, id="0123456789abcdef", kind="search", seed=spec.seed, spec=recorded(_resumed(trials), spec.genome())
    )
    ledger = Ledger(folder)
    for _ in finished(candidates(spec, spec.space(spec.genome()), ledger, estimator()), ledger, _trained):
        pass
    ledger.write_table()
    for trial in front_of(ledger.table(), spec.objectives)["trial"]:
        job = ledger.trial(int(trial)).job
        save_file(build(job.genome).state_dict(), job.directory / "weights.safetensors")
        cells = [[label, label, 36] for label in range(10)]
        write_json(job.directory / "test.json", {"accuracy": 1.0, "test_images": 360, "confusion": cells})
    write_front(Run(folder, "search", spec, lambda record: record), _Examiner())


class _Examiner:
    """Of winners, without a stopwatch."""

    def seconds(self, trials: list[str], batch_size: int) -> list[float]:
        return [0.001 * batch_size] * len(trials)

    def on_test(self, trials: list[str]) -> tuple[list[tuple[float, float]], None]:
        return [(1.0, 0.0)] * len(trials), None


def resume(folder: Path) -> None:
    """What a search does with earlier trials until it issues a job."""
    trials = len(list((folder / "trials").iterdir()))
    spec = _resumed(trials + 100)
    space, objectives = spec.space(spec.genome()), list(spec.objectives)
    progress = Progress(trials=spec.trials, epochs=EPOCHS, objectives=objectives, console=Console(quiet=True))
    ledger = Ledger(folder)
    with ledger.locked():
        progress(Event("resumed", data={"table": ledger.table()}))
        searcher = candidates(spec, space, ledger, estimator())
        WeightRetention(ledger, objectives, repeat=1)
        with StudyWriter(ledger, _database(folder), folder.name, space, spec.objectives, ignore):
            assert searcher.unfinished() == []
            issued = searcher.next()
            assert isinstance(issued, Job)
    shutil.rmtree(issued.directory)


def study(folder: Path) -> None:
    spec = _resumed(1)
    (folder / "optuna.db").unlink(missing_ok=True)
    ledger, space = Ledger(folder), spec.space(spec.genome())
    mirror = Study(_database(folder), folder.name, space, spec.objectives, ledger.trial(0).job)
    for begin in range(0, len(ledger.trials), BATCH):  # as StudyWriter does it
        mirror.add(ledger.trials[begin : begin + BATCH])


def driver(folder: Path) -> None:
    trials = len(list((folder / "trials").iterdir())) + 2
    found = run_search(_resumed(trials), folder, settings={"workers.count": 1}, progress=False)
    assert list(found.trials["state"][-2:]) == ["complete", "complete"]


_STEPS: dict[str, Callable[[Path], None]] = {"study": study, "resume": resume, "driver": driver}


def measured(step: str, folder: Path) -> list[float]:
    _STEPS[step](folder)
    return [sum(os.times()[:4]), scale.peak_bytes(), scale.peak_bytes() - scale.status_bytes("RssFile")]


def _in_python(script: str, *arguments: str) -> list[float]:
    """The numbers in the last line that a process of its own prints."""
    command = [sys.executable, "-c", script, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(number) for number in answer.stdout.splitlines()[-1].split()]


def _in_a_process(call: Callable[[], Any]) -> Any:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(call).result()


def _resumed(trials: int) -> SearchSpec:
    return scale.space_of("cost_aware", trials)


def _database(folder: Path) -> str:
    return f"sqlite:///{folder}/optuna.db"


def _trained(job: Job) -> Outcome:
    """The outcome of scale.py, with the curve that leads to it; or a failure."""
    if job.number % FAILED == FAILED - 1:
        (job.directory / "failure.txt").write_text("Traceback (most recent call last):\nRuntimeError: out of memory\n")
        return Outcome.of(job, "failed", epochs=0, reason="out of memory")
    outcome = scale.outcome(job, epochs=EPOCHS)
    rng = Random(job.seed)
    with (job.directory / "metrics.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(_COLUMNS)
        for epoch in range(1, EPOCHS + 1):
            accuracy = outcome.accuracy if epoch == EPOCHS else rng.random()
            table.writerow([epoch, *(rng.random() for _ in range(3)), accuracy, *(rng.random() for _ in range(3))])
    return outcome
