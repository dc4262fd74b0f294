"""Two processes train each trial, real ones on a real cluster, while ranks, drivers and a machine are killed."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray

from nas.data.registry import SOURCES
from nas.engine import Job, Ledger, Pool
from nas.engine.crew import _cause, _Mate
from nas.engine.training import TrainJob
from nas.engine.worker import Report, run_job
from nas.errors import DataError
from nas.plugins import load_plugins
from nas.registry import Registry
from nas.train import Task, Training
from nas.train.ranks import Ranks
from tests.engine.cluster import Cluster, cluster
from tests.engine.drivers import search_in, start
from tests.test_scratch import age

TRIALS, EPOCHS = 4, 8
TASK = Task("digits", Training(epochs=EPOCHS, limit=240, batch_size=32))
PAIR = TrainJob(TASK, processes=2)


@dataclass(frozen=True)
class Faulty(TrainJob):
    """The second rank of the first trial runs out of memory; that of the second one dies when all is done."""

    def train(self, genome: Any, job: Job, ranks: Ranks, report: Report | None = None) -> Any:
        if job.number == 0 and ranks.rank == 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        result = super().train(genome, job, ranks, report)
        if job.number == 1 and ranks.rank == 1:
            os._exit(9)
        return result


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Losses of the same search without Ray, one process a trial."""
    search = search_in(tmp_path_factory.mktemp("alone"), TRIALS)
    with search.ledger.locked():
        while isinstance(job := search.candidates.next(), Job):
            outcome = run_job(job, TrainJob(TASK), report=lambda row: None)
            search.ledger.finish(job, outcome)
            search.candidates.tell(job, outcome)
    return losses(search.ledger.directory)


def losses(run: Path) -> dict[str, list[float]]:
    files = sorted(run.glob("trials/[0-9]*/metrics.csv"))
    return {file.parent.name: pd.read_csv(file)["loss"].tolist() for file in files}


def check_equal(run: Path, alone: dict[str, list[float]]) -> None:
    found = losses(run)
    assert Ledger(run).unfinished == []
    assert found.keys() == alone.keys()
    for trial, values in alone.items():
        assert found[trial] == pytest.approx(values, rel=1e-4), trial


def mates(node: str) -> Iterator[int]:
    """Processes of ranks on a node, but the first of each trial."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = (folder / "cmdline").read_bytes().startswith(b"ray::_Mate")
            if named and f"NODE={node}\0".encode() in (folder / "environ").read_bytes():
                yield int(folder.name)
        except OSError:
            continue


def remains(environment: dict[str, str]) -> tuple[list[Any], list[Any]]:
    """Living actors and placement groups in Ray's own books, as a new driver sees them."""
    os.environ |= environment
    import ray
    from ray._private.state import state

    ray.init(environment["RAY_ADDRESS"], log_to_driver=False, logging_level=logging.ERROR)
    try:
        groups = [each for each in ray.util.placement_group_table().values() if each["state"] != "REMOVED"]
        return [each for each in state.actor_table(None).values() if each["State"] != "DEAD"], groups
    finally:
        ray.shutdown()


def check_nothing_left(drivers: ForkServerContext, nodes: Cluster) -> None:
    with drivers.Pool(1) as pool:
        while pool.apply(remains, (nodes.environment,)) != ([], []):  # the test's own limit ends it
            time.sleep(0.5)


def wait(until: Callable[[], Any], driver: ForkServerProcess) -> None:
    while not until():
        assert driver.is_alive(), "the driver has ended"
        time.sleep(0.02)


def lines(run: Path) -> int:
    return sum(map(len, losses(run).values()))


def more_than(before: int, run: Path) -> Callable[[], bool]:
    return lambda: lines(run) > before


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ranks_and_drivers_are_killed_and_nothing_is_lost_or_left(
    tmp_path: Path, drivers: ForkServerContext, alone: dict[str, list[float]]
) -> None:
    run, temporary = tmp_path / "run", tmp_path / "temporary"
    temporary.mkdir()
    with cluster() as nodes:
        nodes.start(cpus=4, NODE="crew", TMPDIR=str(temporary))
        for count, victim in ((2, "rank"), (1, "driver"), (1, "rank")):  # 2 at once: the other is not disturbed
            driver = start(drivers, run, nodes, trials=TRIALS, work=PAIR, processes=2, count=count)
            wait(more_than(lines(run), run), driver)
            if victim == "rank":
                os.kill(next(mates("crew")), signal.SIGKILL)
                wait(more_than(lines(run), run), driver)
            driver.kill()
            driver.join()
            check_nothing_left(drivers, nodes)
        left = [*temporary.glob("nas-ranks-*")]
        for folder in left:
            age(folder)
        driver = start(drivers, run, nodes, trials=TRIALS, work=PAIR, processes=2, count=1)
        driver.join()
        assert driver.exitcode == 0
        while [*mates("crew")]:  # Ray ends them behind the driver's back
            time.sleep(0.05)
        check_nothing_left(drivers, nodes)
    assert left and not [*temporary.glob("nas-ranks-*")], "of workers that ended with their driver"
    assert {trial.outcome.state for trial in Ledger(run).trials if trial.outcome} <= {"complete", "infeasible"}
    check_equal(run, alone)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ranks_on_two_machines_of_which_one_is_lost(
    tmp_path: Path, drivers: ForkServerContext, alone: dict[str, list[float]]
) -> None:
    run = tmp_path / "run"
    with cluster() as nodes:
        nodes.start(cpus=1, NODE="head")
        second = nodes.start(cpus=1, NODE="second")
        driver = start(drivers, run, nodes, trials=TRIALS, work=PAIR, processes=2)
        wait(more_than(1, run), driver)
        assert [*mates("second")] or [*mates("head")]
        nodes.kill(second)
        nodes.start(cpus=1, NODE="third")
        driver.join()
        assert driver.exitcode == 0
        check_nothing_left(drivers, nodes)
    check_equal(run, alone)


@pytest.mark.slow
def test_an_error_of_a_rank_is_the_trials_and_says_which_rank(tmp_path: Path, drivers: ForkServerContext) -> None:
    with cluster() as nodes:
        nodes.start(cpus=2, NODE="faulty")
        driver = start(drivers, tmp_path, nodes, trials=2, work=Faulty(TASK, processes=2), processes=2)
        driver.join()
        assert driver.exitcode == 0
    first, *others = Ledger(tmp_path).trials
    assert first.outcome is not None and first.outcome.state == "failed"
    assert first.outcome.reason == "out of memory: rank 1: RuntimeError: CUDA out of memory. Tried to allocate 2 GiB"
    assert others and all(each.outcome and each.outcome.state in ("complete", "infeasible") for each in others)
    assert losses(tmp_path).keys() >= {"0001"}, "it was trained"


def test_images_that_another_rank_cannot_read_are_no_failure_of_the_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: Pool
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mate, problem = _Mate(), DataError("its images on b are not those that the run was begun with", file="photos")

    def fail(ranks: Ranks) -> None:
        raise problem

    mate.next = fail
    answer = mate.follow(0, 1, f"file://{tmp_path}/meeting", "cpu")
    assert answer is problem
    cause = _cause([ray.put("ValueError: lost the others"), ray.put(answer)])
    assert isinstance(cause, DataError) and str(cause) == str(problem)


def test_a_plug_in_that_leaves_in_another_rank_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By SystemExit, which would look like a rank that has died."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    plugin = tmp_path / "odd.py"
    text = "import sys\nfrom nas.data.registry import source\n@source('odd')\ndef read(name):\n    sys.exit('bye')\n"
    plugin.write_text(text)
    load_plugins(plugin)
    mate = _Mate()
    mate.next = lambda ranks: SOURCES["odd"].read("odd")
    try:
        answer = mate.follow(0, 1, f"file://{tmp_path}/meeting", "cpu")
    finally:
        Registry.forget(sys.modules.pop("nas_plugin_odd").__name__)
    assert answer == f"{plugin}: the dataset 'odd': line 5, in read: SystemExit: bye"
