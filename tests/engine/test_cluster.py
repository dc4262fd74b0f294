"""A search over two nodes, of which one is lost; and a GPU that is shared, as far as Ray's books go."""

from __future__ import annotations

import time
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from nas.engine import Ledger
from tests.engine import works
from tests.engine.cluster import cluster
from tests.engine.drivers import Entries, check_exact, go_alone, log, start

TRIALS = 12


def halfway(entries: Entries, node: str) -> list[str]:
    """Trials that are being trained on a node."""
    return [trial for trial, lines in entries.items() if lines[-1][1] == node and lines[-1][2] < works.EPOCHS]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_node_is_lost_and_every_trial_still_ends(tmp_path: Path, drivers: ForkServerContext) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    with cluster() as nodes:
        nodes.start(cpus=1, gpus=1, NODE="head")
        second = nodes.start(cpus=1, gpus=1, NODE="second")
        driver = start(drivers, run, nodes, trials=TRIALS, work=works.crowd, gpu=0.5)
        while not (halfway(log(run), "second") and halfway(log(run), "head")):
            assert driver.is_alive()
            time.sleep(0.01)
        nodes.kill(second)
        (lost,) = halfway(log(run), "second")
        driver.join()
        assert driver.exitcode == 0

    assert {node for _, node, _ in log(run)[lost]} == {"head", "second"}
    ended = {trial.job.id: trial.outcome for trial in Ledger(run).trials}
    assert {outcome.state for outcome in ended.values() if outcome} == {"complete", "infeasible"} and all(
        ended.values()
    )
    assert (run / "trials" / "0004" / "mark").exists(), "the trial that ran out of memory beside another one"
    go_alone(whole, TRIALS)
    check_exact(run, whole)
