"""kill -9 of the driver at any moment, then the same command: nothing is lost, nothing is done twice.

A real cluster outlives its drivers, which are real processes.
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path
from random import Random

import pytest

from benchmarks.deadly import die_at
from nas.engine import Ledger
from tests.engine import works
from tests.engine.cluster import cluster
from tests.engine.drivers import check_exact, go_alone, length, log, start

KILLS, TRIALS = 10, 40
SLOWLY = partial(works.step, pause=0.1)  # longer than a worker outlives its driver, or no trial would be resumed


def die_at_write(folder: Path, count: int, after: bool) -> None:
    """`go_alone`, killed by itself when it replaces a file for the `count`-th time: just before that, or after."""
    die_at(os, "replace", count, after=after)
    go_alone(folder, TRIALS)


def finished(folder: Path) -> dict[str, tuple[int, str, int]]:
    """Of each trial that has ended: time and content of its result, and the length of its log."""
    logs = log(folder)
    files = folder.glob("trials/[0-9]*/result.json")
    return {f.parent.name: (f.stat().st_mtime_ns, f.read_text(), len(logs.get(f.parent.name, []))) for f in files}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_kills_change_nothing(tmp_path: Path, drivers: ForkServerContext) -> None:
    rng = Random(0)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    before: dict[str, tuple[int, str, int]] = {}
    with cluster() as nodes:
        nodes.start(cpus=2)
        for kill in range(KILLS):
            begun = length(log(killed))
            driver = start(drivers, killed, nodes, trials=TRIALS, work=SLOWLY, count=2)
            # Half of them while it joins, reads the ledger and starts workers; half when these are at work. A fast
            # machine gets through many trials in a second, so the wait ends with what is done, too.
            at_work = kill % 2 == 0
            wanted = begun + rng.randrange(1, 5) * at_work
            while length(log(killed)) < wanted:
                assert driver.is_alive()
                time.sleep(0.01)
            end = time.monotonic() + (rng.uniform(0, 0.1) if at_work else rng.uniform(0, 3))
            while time.monotonic() < end and length(log(killed)) < begun + 6:
                time.sleep(0.01)
            assert driver.is_alive(), "it finished: there are too few trials for so many kills"
            driver.kill()
            driver.join()
            Ledger(killed)  # no file is damaged
            after = finished(killed)
            assert before.items() <= after.items(), "a finished trial was run again"
            before = after
        driver = start(drivers, killed, nodes, trials=TRIALS, work=SLOWLY, count=2)
        driver.join()
        assert driver.exitcode == 0
    assert before and before.items() <= finished(killed).items()
    assert any(len({process for process, _, _ in entries}) > 1 for entries in log(killed).values()), "none was resumed"
    go_alone(whole, TRIALS)
    check_exact(killed, whole)


def test_a_kill_at_any_write_changes_nothing(tmp_path: Path, drivers: ForkServerContext) -> None:
    """What a clock hardly ever meets: the moments between two writes of one process."""
    rng = Random(0)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for kill in range(12):
        driver = drivers.Process(target=die_at_write, args=(killed, rng.randrange(1, 12), bool(kill % 2)))
        driver.start()
        driver.join()
        assert driver.exitcode == -signal.SIGKILL
        Ledger(killed)
    go_alone(killed, TRIALS)
    go_alone(whole, TRIALS)
    check_exact(killed, whole)
