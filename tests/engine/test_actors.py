"""Watched calls on real workers, which die, hang, raise and are interrupted."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nas.engine import Limits, Pool, limits
from nas.engine.actors import RETRIES, Actors, Call
from nas.errors import DataError, SpecError
from nas.plugins import load_plugins
from nas.registry import Registry
from tests.engine import works
from tests.engine.test_limits import Hanging


class Calls:
    """What became of calls that each do as `behaviours` say, while nothing is amiss with the others."""

    def __init__(self, folder: Path, pool: Pool):
        self.folder, self.answers, self.lost = folder, dict[int, str](), dict[int, list[str]]()
        self.actors = Actors(folder, pool, Limits(stalled_seconds=10), [].append)

    def run(self, *behaviours: str) -> None:
        self.answers.clear()
        self.actors.run([Call(works.called, (each,)) for each in behaviours], self.done, self.lost.__setitem__)

    def done(self, number: int, answer: str) -> None:
        self.answers[number] = answer


def alive() -> list[Any]:
    from ray._private.state import state

    actors = state.actor_table(None).values()
    return [each for each in actors if each["ActorClassName"] == "_Actor" and each["State"] != "DEAD"]


def check_nothing_left() -> None:
    while alive():  # Ray has been told to kill them; the test's own limit ends it
        time.sleep(0.05)


def test_a_call_whose_worker_dies_is_made_once_more_and_workers_stay_for_the_next_calls(
    tmp_path: Path, pool: Pool
) -> None:
    calls = Calls(tmp_path, pool)
    with calls.actors:
        calls.run("a", "die once", "b", "die", "c")
        assert [calls.answers.get(number, "none").split()[0] for number in range(5)] == ["a", "die", "b", "none", "c"]
        died = "the worker process died"
        assert calls.lost == {1: [died], 3: [died] * (RETRIES + 1)}
        calls.run("d")
        before = {each["Pid"] for each in alive()}
        calls.run("e")
        assert int(calls.answers[0].split()[1]) in before, "a worker of before"
    check_nothing_left()


def test_workers_that_die_between_calls_cost_no_call_an_attempt(tmp_path: Path, pool: Pool) -> None:
    calls = Calls(tmp_path, pool)
    with calls.actors:
        calls.run("a", "b")
        while not all(worker.started for worker in calls.actors._hired):
            calls.run("a")
        idle = [each["Pid"] for each in alive()]
        for pid in idle:
            os.kill(pid, signal.SIGKILL)
        calls.run("c")
        assert calls.answers[0].split()[0] == "c" and int(calls.answers[0].split()[1]) not in idle
    assert calls.lost == {}


@pytest.mark.slow
def test_a_call_that_makes_no_progress_is_made_once_more(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "monotonic", Hanging(tmp_path, 12))
    calls = Calls(tmp_path, pool)
    with calls.actors:
        calls.run("hang")
    assert calls.answers == {} and calls.lost == {0: ["stalled: no progress for 10 s"] * 2}
    assert len({*(tmp_path / "called-hang").read_text().split()}) == 2
    check_nothing_left()


def test_what_a_call_raises_is_not_tried_again_and_a_users_mistake_is_one_message(tmp_path: Path, pool: Pool) -> None:
    calls = Calls(tmp_path, pool)
    with calls.actors:
        with pytest.raises(DataError) as refused:
            calls.run("refuse")
        assert str(refused.value) == "images.parquet: not readable"
        with pytest.raises(ValueError, match=r"ray::_Actor(.|\n)*this call raises"):
            calls.run("raise")
    assert calls.lost == {}


@pytest.mark.parametrize(
    ("left", "said"), [("sys.exit('bye')", "SystemExit: bye"), ("raise KeyboardInterrupt", "KeyboardInterrupt")]
)
def test_a_plug_in_that_leaves_is_named(tmp_path: Path, pool: Pool, left: str, said: str) -> None:
    plugin = tmp_path / "odd.py"
    text = f"import sys\nfrom nas.data.registry import source\n@source('odd')\ndef read(name):\n    {left}\n"
    plugin.write_text(text)
    load_plugins(plugin)
    calls = Calls(tmp_path, pool)
    try:
        with calls.actors, pytest.raises(SpecError) as blamed:
            calls.run("plug-in")
    finally:
        Registry.forget(sys.modules.pop("nas_plugin_odd").__name__)
    assert str(blamed.value) == f"{plugin}: the dataset 'odd': line 5, in read: {said}"
    assert calls.lost == {}


def test_an_interrupt_leaves_no_worker_behind(tmp_path: Path, pool: Pool) -> None:
    class Interrupted(Calls):
        def done(self, number: int, answer: str) -> None:
            raise KeyboardInterrupt

    calls = Interrupted(tmp_path, pool)
    with pytest.raises(KeyboardInterrupt), calls.actors:
        calls.run("hang", "a")
    check_nothing_left()
