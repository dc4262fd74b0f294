"""Whole searches: real Ray, real training, seconds each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from nas.data import load
from nas.engine import Event, Ledger, Pool
from nas.errors import BudgetError, DataError, RunError, SpaceError
from nas.files import parse_yaml, read_yaml
from nas.model import build
from nas.search import Space, load_space, search
from nas.search.run import resolve
from nas.seeds import derive
from nas.train import evaluate
from tests.search.simulation import LAVIT

SHORT = {"training": {"epochs": 2, "limit": 200}, "trials": 3}


def space(**keys: object) -> Space:
    return Space.parse(parse_yaml(LAVIT) | SHORT | keys)


def frame(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"trial": str}, converters={"accuracy": _number, "accuracy_test": _number})


def _number(text: str) -> float:
    """Python's float is exact; pandas' default parser, before version 3, is not."""
    return float(text or "nan")


def test_a_search_leaves_all_that_its_readers_need_and_goes_on_when_asked(tmp_path: Path, pool: Pool) -> None:
    run = tmp_path / "run"
    events: list[Event] = []
    timed = {"objectives": {"accuracy": "max", "macs": "min", "throughput": "max"}, "budget": {"throughput": 1.0}}
    result = search(space(**timed), run, on_event=events.append)

    assert result.trials["state"].tolist() == ["complete"] * 3
    assert (result.trials["throughput"] > 0).all()
    names = {".lock", "run.yaml", "trials", "trials.csv", "front.csv", "winners", "latency.json"}
    assert {path.name for path in run.iterdir()} == names
    assert [event.kind for event in events].count("epoch") == 6

    record = read_yaml(run / "run.yaml")
    assert (record["kind"], record["name"], record["seed"]) == ("search", "run", 0)
    assert record["spec"]["training"]["epochs"] == 2
    assert record["spec"]["sampler"] == {"name": "tpe", "startup": 10, "population": 8, "lag": 2 * pool.slots}
    assert {"torch", "ray", "optuna"} <= set(record["versions"])

    front = frame(run / "front.csv")
    images = load("digits", limit=200)
    for row in front.to_dict("records"):
        model = build(run / "winners" / f"{row['winner']}.yaml", weights=True)
        assert evaluate(model, images.validation) == row["accuracy"]
        assert evaluate(model, images.test) == row["accuracy_test"]
        assert row["throughput_measured"] > 0

    again = search(space(trials=4, **timed), run)
    pd.testing.assert_frame_equal(again.trials[:3], result.trials, check_dtype=False)
    assert len(again.trials) == 4
    with pytest.raises(
        RunError, match=r"spec.training.epochs: the run was begun with 2, now it is 3; choose another RUN"
    ):
        search(space(training={"epochs": 3, "limit": 200}, **timed), run)


@pytest.mark.parametrize(
    ("keys", "kind", "message"),
    [
        ({"budget": {"macs": 1000}}, BudgetError, "macs 878,720 is over the budget of 1,000"),
        (
            {"budget": {"throughput": 1e12}, "parameters": {"stages.0.split": {"int": [2, 3]}}},
            BudgetError,
            "throughput",
        ),
        ({"data": "parquet:/nowhere"}, DataError, "/nowhere"),
        ({"image_size": 7}, SpaceError.__base__, "stages.0.patch: patch 2 does not divide"),
        ({"parameters": {"stages.0.splt": {"int": [1, 2]}}}, SpaceError, "did you mean split"),
    ],
)
def test_what_cannot_work_ends_before_anything_is_written(tmp_path: Path, keys: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        search(space(**keys), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import sys
from pathlib import Path
from nas.search import Space, search
from nas.files import read_yaml
if __name__ == "__main__":
    space = Space.parse(read_yaml(Path(sys.argv[1])))
    search(space, Path(sys.argv[2]))
"""


def wait_for(ready: object, process: subprocess.Popen[str], timeout: float = 120) -> None:
    end = time.monotonic() + timeout
    while not ready():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "took too long"
        time.sleep(0.05)


def states(run: Path) -> dict[str, str]:
    """Trial id -> state, of a run that another process is writing."""
    marks = {"ended": "result.json", "begun": "checkpoint.pt", "new": ""}
    return {
        path.name: next(state for state, name in marks.items() if (path / name).exists())
        for path in (run / "trials").glob("[0-9]*")
    }


def test_what_a_killed_driver_leaves_behind_is_finished(tmp_path: Path, pool: Pool) -> None:
    wanted = space(sampler="random", trials=5, training={"epochs": 12, "limit": 600})
    (tmp_path / "space.yaml").write_text(wanted.model_dump_json())
    (tmp_path / "script.py").write_text(SCRIPT)
    run = tmp_path / "run"

    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "space.yaml"), str(run)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    wait_for(lambda: "ended" in states(run).values() and "begun" in states(run).values(), driver)
    driver.kill()
    driver.wait()
    results = [run / "trials" / name / "result.json" for name, state in states(run).items() if state == "ended"]
    kept = {path: path.read_text() for path in results}
    begun = [name for name, state in states(run).items() if state == "begun"]

    result = search(wanted, run)
    assert result.trials["state"].tolist() == ["complete"] * 5
    for path, text in kept.items():
        assert path.read_text() == text, "a finished trial is not run again"
    for name in begun:
        assert len(pd.read_csv(run / "trials" / name / "metrics.csv")) == 12

    domain, _, _ = resolve(wanted)
    drawn = [domain.genome(domain.draw(Random(derive(0, "suggest", draw)))).hash for draw in range(20)]
    fresh = list(dict.fromkeys([domain.base.hash, *drawn]))
    assert result.trials["hash"].tolist() == fresh[:5], "the sequence that the seed determines"


def test_two_drivers_do_not_share_a_run(tmp_path: Path) -> None:
    with Ledger(tmp_path / "run").locked(), pytest.raises(RunError, match="busy: another process"):
        search(load_space("mixed").with_settings(["trials=1"]), tmp_path / "run")
