"""A search whose trials have two processes each, killed twenty times: what is lost, what is left, what has changed.

Drivers are processes with a Ray of their own. Ten times the second rank of a trial is killed, which its driver has to
notice and repair; ten times the driver, after which none of its processes may remain. Each kill comes when one more
epoch is in a table of the run. The last driver is left alone. The losses of its trials are compared with those of the
same search that nobody killed, and with those of one process a trial. Genomes are drawn at random, one after the other:
a sampler that learns would draw others where two trials run at once.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd

from benchmarks.contest import met
from benchmarks.machine import Setting
from nas.engine import Ledger
from nas.search import load_space
from nas.search.run import search

KILLS, TRIALS = 20, 12
SETTINGS = {"trials": TRIALS, "sampler": "random", "training.epochs": 8, "training.limit": 400, "budget": {}}
MARK = "NAS_BENCH_RANKS"  # in the environment of all processes of the killed search
REMAINS = 120.0  # seconds after which a process is left behind: Ray's agents look for a head that is gone for 60


def run(setting: Setting) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, XDG_CACHE_HOME=folder):
        return [_measured(Path(folder))]


def _measured(folder: Path) -> dict[str, Any]:
    drivers, killed, whole, alone = get_context("forkserver"), folder / "killed", folder / "whole", folder / "alone"
    drivers.set_forkserver_preload([__name__])  # imported once for all drivers
    lost: list[str] = []
    left = 0
    for kill in range(KILLS // 2):
        kept = _ended(killed)
        driver = drivers.Process(target=_drive, args=(killed, 2))
        driver.start()
        _wait_for_an_epoch(killed, driver)
        os.kill(next(_processes("ray::_Mate")), signal.SIGKILL)
        _wait_for_an_epoch(killed, driver)
        driver.kill()
        driver.join()
        left += _left()
        lost += sorted(kept - _ended(killed))
        print(f"{2 * kill + 2} kills: {len(_ended(killed))} trials have ended, {left} processes are left", flush=True)
    for where, processes in ((killed, 2), (whole, 2), (alone, 1)):
        driver = drivers.Process(target=_drive, args=(where, processes))
        driver.start()
        driver.join()
        if driver.exitcode:
            raise RuntimeError(f"the driver that was left alone ended with {driver.exitcode}")
    at = f"{KILLS // 2} ranks and {KILLS // 2} drivers killed, lavit_split on digits, {TRIALS} trials of 2 processes"
    rows = [
        _row("trials lost", at, len(lost), 0),
        _row("trials that did not end as complete", at, TRIALS - len(_ended(killed, "complete")), 0),
        _row("processes left behind", at, left, 0),
        _row("largest relative difference of a loss to the search that nobody killed", at, _apart(killed, whole), 0),
        _row("the same to one process a trial, in millionths", at, 1e6 * _apart(killed, alone), 100),
    ]
    return {"at": at, "lost": lost, "rows": rows}


def _drive(folder: Path, processes: int) -> None:
    if processes > 1:
        os.environ[MARK] = "1"
    search(load_space("lavit_split").with_settings(SETTINGS | {"workers.processes": processes}), folder)


def _epochs(run_: Path) -> int:
    return sum(file.read_text().count("\n") - 1 for file in run_.glob("trials/[0-9]*/metrics.csv"))


def _wait_for_an_epoch(run_: Path, driver: ForkServerProcess) -> None:
    before = _epochs(run_)
    while _epochs(run_) <= before or not any(_processes("ray::_Mate")):
        if not driver.is_alive():
            raise RuntimeError("the search has ended before the kill: it needs more trials")
        time.sleep(0.01)


def _processes(title: str = "") -> Iterator[int]:
    """Processes of the killed search whose title begins so."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            marked = f"{MARK}=1\0".encode() in (folder / "environ").read_bytes()
            if marked and (folder / "cmdline").read_bytes().startswith(title.encode()):
                yield int(folder.name)
        except OSError:
            continue


def _left() -> int:
    end = time.monotonic() + REMAINS
    while (count := len([*_processes()])) and time.monotonic() < end:
        time.sleep(0.1)
    return count


def _ended(run_: Path, state: str = "") -> set[str]:
    files = run_.glob("trials/[0-9]*/result.json")
    return {file.parent.name for file in files if f'"state": "{state}' in file.read_text()}


def _apart(killed: Path, whole: Path) -> float:
    worst, theirs = 0.0, Ledger(killed)
    for trial in Ledger(whole).trials:
        same = theirs.trial(trial.job.number)
        if same.job.hash != trial.job.hash:
            raise RuntimeError(f"trial {trial.job.id} has another genome than in the other search")
        one, other = (pd.read_csv(each.job.directory / "metrics.csv")["loss"] for each in (trial, same))
        if len(one) != len(other):
            raise RuntimeError(f"trial {trial.job.id} has another number of epochs than in the other search")
        worst = max(worst, float(((one - other) / one).abs().max()))
    return worst


def _row(what: str, at: str, value: float, bar: int) -> dict[str, Any]:
    return {
        "what": what,
        "against": "—",
        "at": at,
        "about": "count",
        "bar": bar,
        "upper": True,
        "ratio": {"value": value, "low": None, "high": None},
        "met": met(value, bar, True),
        "limit": "see the head of benchmarks/ranks.py",
    }
