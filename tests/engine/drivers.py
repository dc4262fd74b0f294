"""Drivers as processes that can be killed: each searches with TPE, and works.step stands for training."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

from nas.engine import Ledger, Signal, Workers, run, session
from nas.engine.storage import Storage
from nas.engine.worker import run_job
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from tests.engine import works
from tests.engine.cluster import Cluster
from tests.search.simulation import LAVIT, Simulation, sequence

Entries = dict[str, list[tuple[str, str, int]]]


def search_in(folder: Path, trials: int) -> Simulation:
    keys = {
        "trials": trials,
        "budget": {"macs": 960_000},
        "sampler": "random",
    }  # which suggests what is over the budget
    return Simulation(SearchSpec.parse(parse_yaml(LAVIT) | keys), folder)


def drive(
    folder: Path,
    environment: dict[str, str],
    trials: int,
    work: Callable,
    workers: dict[str, Any],
    place: str | None = None,
) -> None:
    """A driver, to its end."""
    os.environ |= environment
    storage = Storage.of(place, folder)
    with Ledger(folder, storage).locked():
        pass  # what the storage has is here now
    search = search_in(folder, trials)
    search.ledger.storage = storage
    with search.ledger.locked(), session(Workers(**workers)) as pool:
        run(search.candidates, search.ledger, work=work, pool=pool)


def go_alone(folder: Path, trials: int) -> None:
    """The same search without Ray: one trial after the other, in this process."""
    search = search_in(folder, trials)
    with search.ledger.locked():
        jobs = search.candidates.unfinished()
        while (job := jobs.pop(0) if jobs else search.candidates.next()) is not Signal.DONE:
            outcome = run_job(job, works.step, report=lambda row: None)
            search.ledger.finish(job, outcome)
            search.candidates.tell(job, outcome)
        search.ledger.write_table()


def fork_server() -> ForkServerContext:
    """For processes that have imported everything before they are born: a driver is up in tenths of a second."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "nas.engine.ray_tune", "optuna", "benchmarks.convert_kill"])
    return context


def start(
    drivers: ForkServerContext,
    folder: Path,
    cluster: Cluster,
    *,
    trials: int,
    work: Callable = works.step,
    **workers: Any,
) -> ForkServerProcess:
    driver = drivers.Process(target=drive, args=(folder, cluster.environment, trials, work, workers))
    driver.start()
    return driver


def log(folder: Path) -> Entries:
    """What workers did in each trial, line by line: process, node, epoch."""
    lines = {file.parent.name: file.read_text().splitlines() for file in folder.glob("trials/[0-9]*/log")}
    begun = [trial for trial in lines if lines[trial]]  # a file is there before its first line
    return {trial: [(*line.split()[:2], int(line.split()[2])) for line in lines[trial]] for trial in begun}  # type: ignore[misc]


def length(entries: Entries) -> int:
    return sum(map(len, entries.values()))


def check_exact(killed: Path, whole: Path) -> None:
    """The search that was killed did what the other one did; each epoch once, or twice where a kill came within it."""
    ledger = Ledger(killed)
    assert ledger.unfinished == []
    assert sequence(ledger) == sequence(Ledger(whole))
    for trial, entries in log(killed).items():
        epochs = [epoch for _, _, epoch in entries]
        steps = [after - before for before, after in zip([0, *epochs], epochs, strict=False)]
        assert set(steps) <= {0, 1} and steps[0] == 1 and epochs[-1] == works.EPOCHS, (trial, entries)
        processes = [process for process, _, _ in entries]
        runs = [p for p, before in zip(processes, ["", *processes], strict=False) if p != before]
        assert len(runs) == len(set(runs)), f"two workers at once in trial {trial}: {entries}"
    complete = [trial.job.id for trial in ledger.trials if trial.outcome and trial.outcome.state == "complete"]
    assert complete == sorted(log(killed))
    assert list(killed.glob("trials/*/.*")) + list(killed.glob("trials/.*")) == [], "left behind"
