"""kill -9 of a conversion's driver in the library, in the scores and in the repair: nothing is done twice.

A real cluster outlives its drivers, which are real processes. benchmarks/convert_kill.py kills twenty.
"""

from __future__ import annotations

import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from benchmarks.convert_kill import Moment, differences, drive, handed, kept
from nas.convert.run import ConversionResult
from tests.convert.small import spec
from tests.engine.cluster import cluster

MOMENTS = [Moment("library", 15), Moment("scores", 2), Moment("repair", 2)]  # 15: the third of the second round
TABLE = "latency-1.json"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_three_kills_change_nothing(
    whole: ConversionResult, parent: Path, tmp_path: Path, drivers: ForkServerContext
) -> None:
    budget = {"latency": "1000000x"}  # needs a table, and admits all on the busiest machine
    killed, small = tmp_path / "killed", spec(parent, budget=budget)
    states, tables = [], []
    with cluster() as nodes:
        nodes.start(cpus=1)

        def driven(moment: Moment | None) -> int | None:
            before = kept(killed)
            code = drive(drivers, killed, small, moment, environment=nodes.environment, seconds=0.05)
            states.append(kept(killed))
            tables.append((killed / TABLE).read_bytes())
            assert before <= states[-1], "lost"
            assert not before & handed(killed), "done twice"
            return code

        for moment in MOMENTS:
            assert driven(moment) == -signal.SIGKILL
        assert driven(None) == 0
    kinds = [{unit.split()[0] for unit in state} for state in states[:3]]
    assert kinds == [{"table", "piece"}, {"table", "piece", "score"}, {"table", "piece", "score", "trial"}]
    assert len(set(tables)) == 1, "timed again"
    assert differences(killed, whole.directory) == []
    assert list(killed.rglob("library/.*")) == [], "left behind"
