"""Whole searches: real Ray, real training, seconds each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import optuna
import pandas as pd
import pytest

from nas.data import load
from nas.engine import Event, Ledger, Pool
from nas.errors import BudgetError, DataError, RunError, SpaceError, SpecError
from nas.genome import load_genome
from nas.model import build
from nas.plain_yaml import parse_yaml, read_yaml
from nas.profiling.memory import peak_memory
from nas.report import write_report
from nas.report.run import read_run
from nas.search import SearchSpec, load_space, search
from nas.search.run import resolved, timed_otherwise
from nas.seeds import derive
from nas.train import evaluate
from tests.report.described import undescribed, unsealed
from tests.search.simulation import LAVIT

ALONE = {"count": 1}  # a worker takes longer to start than to train such trials
SHORT = {"training": {"epochs": 2, "limit": 200}, "trials": 3, "workers": ALONE}


def spec(**keys: object) -> SearchSpec:
    return SearchSpec.parse(parse_yaml(LAVIT) | SHORT | keys)


def frame(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"trial": str}, converters={"accuracy": _number, "accuracy_test": _number})


def _number(text: str) -> float:
    """Python's float is exact; pandas' default parser, before version 3, is not."""
    return float(text or "nan")


SCRIPT = """
import sys
from pathlib import Path
from nas.search import SearchSpec, search
from nas.plain_yaml import read_yaml
if __name__ == "__main__":
    space = SearchSpec.parse(read_yaml(Path(sys.argv[1])))
    search(space, Path(sys.argv[2]))
"""


def wait_for(ready: object, process: subprocess.Popen[str]) -> None:
    """No clock: the process ends by itself some time."""
    while not ready():  # type: ignore[operator]
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def states(run: Path) -> dict[str, str]:
    """Trial id -> state, of a run that another process is writing."""
    marks = {"ended": "result.json", "begun": "checkpoint.pt", "new": ""}
    return {
        path.name: next(state for state, name in marks.items() if (path / name).exists())
        for path in (run / "trials").glob("[0-9]*")
    }


def start(folder: Path, wanted: SearchSpec) -> subprocess.Popen[str]:
    """The search in a process of its own, with a Ray of its own."""
    (folder / "space.yaml").write_text(wanted.model_dump_json())
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(folder / "script.py"), str(folder / "space.yaml"), str(folder / "run")]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)


@pytest.mark.timeout(600)
def test_a_search_is_killed_and_resumed_and_goes_further(tmp_path: Path, pool: Pool) -> None:
    """From the first trial to the winners, with a kill -9 of the driver in between."""
    timed = {"objectives": {"accuracy": "max", "macs": "min", "throughput": "max"}, "budget": {"throughput": 1.0}}
    wanted = spec(sampler={"name": "random", "lag": 2}, training={"epochs": 12, "limit": 200}, workers={}, **timed)
    run = tmp_path / "run"

    driver = start(tmp_path, wanted)
    wait_for(lambda: "ended" in states(run).values() and "begun" in states(run).values(), driver)
    driver.kill()
    driver.wait()
    results = [run / "trials" / name / "result.json" for name, state in states(run).items() if state == "ended"]
    kept = {path: path.read_text() for path in [*results, run / "latency.json", run / "run.yaml"]}

    events: list[Event] = []
    result = search(wanted, run, on_event=events.append)
    assert result.trials["state"].tolist() == ["complete"] * 3
    assert {path: path.read_text() for path in kept} == kept, "what has ended is not done again"
    assert {event.trial for event in events if event.kind == "started"}.isdisjoint(p.parent.name for p in results)
    for trial in result.trials["trial"]:
        assert len(pd.read_csv(run / "trials" / trial / "metrics.csv")) == 12
    written = {"trials.csv", "front.csv", "hypervolume.csv", "latency.json", "optuna.db", "run.yaml"}
    drafts = {path.name for path in run.glob(".*.tmp")}  # the kill's, which the start after the next minute removes
    assert {path.name for path in run.iterdir()} - drafts == {".lock", "trials", "winners"} | written

    record = read_yaml(run / "run.yaml")
    assert (record["kind"], record["name"], record["seed"]) == ("search", "run", 0)
    assert record["spec"]["training"]["epochs"] == 12
    assert record["spec"]["sampler"] == {"name": "random", "lag": 2}
    assert {"torch", "ray", "optuna"} <= set(record["versions"])
    assert {trial.job.run for trial in Ledger(run).trials} == {record["id"]}

    front, images = frame(run / "front.csv"), load("digits", limit=200)
    for row in front.to_dict("records"):
        model = build(run / "winners" / f"{row['winner']}.yaml", weights=True)
        assert evaluate(model, images.validation) == row["accuracy"]
        assert evaluate(model, images.test) == row["accuracy_test"]
        assert row["throughput_measured"] > 0

    again = search(wanted.with_settings({"trials": 4, "workers": ALONE}), run)
    pd.testing.assert_frame_equal(again.trials[:3], result.trials, check_dtype=False)
    space = resolved(wanted, wanted.task.load())
    drawn = [space.genome(space.draw(Random(derive(0, "suggest", draw)))).hash for draw in range(20)]
    fresh = list(dict.fromkeys([space.base.hash, *drawn]))
    assert again.trials["hash"].tolist() == fresh[:4], "the sequence that the seed determines"

    with pytest.raises(RunError, match=r"spec.training.epochs: the run was begun with 12, now it is 3; choose another"):
        search(wanted.with_settings({"training.epochs": 3}), run)


def test_any_metric_is_an_objective_and_a_budget_through_a_whole_search(tmp_path: Path, pool: Pool) -> None:
    keys = {"objectives": {"accuracy": "max", "peak_memory": "min"}, "budget": {"latency": 1000}, "trials": 2}
    wanted = spec(**keys, parameters={"stages.1.split": {"int": [1, 2]}}, training={"epochs": 1, "limit": 200})
    run = tmp_path / "run"
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    result = search(wanted, run)
    assert list(result.trials.columns)[5:11] == ["macs", "params", "throughput", "peak_memory", "latency", "seed"]
    assert result.trials["throughput"].isna().all() and (result.trials["latency"] < 1000).all()
    genomes = [load_genome(run / "trials" / trial / "genome.yaml") for trial in result.trials["trial"]]
    assert result.trials["peak_memory"].tolist() == [peak_memory(genome) for genome in genomes]

    assert read_yaml(run / "run.yaml")["spec"]["budget"] == {"latency": 1000}
    assert (run / "latency-1.json").exists() and not (run / "latency.json").exists()
    front = frame(run / "front.csv")
    assert (front["throughput_measured"] > 0).all() and (front["latency_measured"] < 1000).all()
    text = write_report(run).read_text()
    assert "memory MB" in text and "latency ms" in text
    assert {"accuracy_peak_memory.png", "accuracy_latency.png"} < {file.name for file in (run / "figures").iterdir()}
    assert optuna.logging.get_verbosity() == optuna.logging.DEBUG, "the user's"
    optuna.logging.set_verbosity(before)


def test_halving_beside_a_random_baseline(tmp_path: Path, pool: Pool) -> None:
    """Real trainings that stop on the way and go on: the ones that end are those that were never stopped."""
    keys = {"training": {"epochs": 3, "limit": 200}, "halving": {"first": 1, "factor": 2}, "trials": 4}
    wanted = spec(**keys, sampler={"name": "random", "lag": 2}, baseline="random", keep="all")
    result = search(wanted, tmp_path / "run")
    trials = result.trials
    assert sorted(trials["epochs"]) == [1, 1, 2, 3] and sorted(trials["state"]) == ["complete", *["pruned"] * 3]
    assert len(Ledger(tmp_path / "run" / "baseline").trials) == 4
    record = pd.read_csv(tmp_path / "run" / "hypervolume.csv")
    assert record.groupby("run")["trials"].max().to_dict() == {"search": 4, "baseline": 4}
    assert undescribed(tmp_path / "run") == unsealed(tmp_path / "run") == []
    assert read_run(tmp_path / "run").current

    whole = search(spec(training=keys["training"], trials=4, sampler={"name": "random", "lag": 2}), tmp_path / "whole")
    ended = trials[trials["state"] == "complete"]["trial"]
    assert trials["hash"].tolist() == whole.trials["hash"].tolist()
    for trial in ended:
        again = pd.read_csv(tmp_path / "run" / "trials" / trial / "metrics.csv")
        straight = pd.read_csv(tmp_path / "whole" / "trials" / trial / "metrics.csv")
        pd.testing.assert_frame_equal(again[["loss", "accuracy"]], straight[["loss", "accuracy"]])


@pytest.mark.parametrize(("now", "said"), [(100.0, False), (1000.0, True)])
def test_another_table_of_timings_is_said(tmp_path: Path, now: float, said: bool) -> None:
    """Else trials of one table would be compared by two."""
    genome, ledger = load_genome("lavit_digits"), Ledger(tmp_path)
    ledger.add(None, seed=0, hash="", parameters={}, costs={})
    costs = {"macs": 10, "params": 20, "throughput": 100.0}
    ledger.add(genome, seed=1, hash=genome.hash, parameters={}, costs=costs)
    text = timed_otherwise(ledger, lambda genome: {"macs": 11, "params": 20, "throughput": now})
    assert (text is not None) is said
    if text is not None:
        assert "throughput of trial 0001 was 100 images/s, and would be 1,000 images/s" in text


def test_repeats_are_trained_with_other_seeds_and_count_as_their_mean(tmp_path: Path, pool: Pool) -> None:
    result = search(spec(trials=2, repeat=2, training={"epochs": 1, "limit": 200}), tmp_path / "run")
    assert result.trials["hash"].tolist() == [result.trials["hash"][i] for i in (0, 0, 2, 2)]
    assert result.trials["seed"].nunique() == 4
    assert read_run(tmp_path / "run").current
    for row in result.front.to_dict("records"):
        own = result.trials[result.trials["hash"] == row["hash"]]
        assert row["accuracy"] == pytest.approx(own["accuracy"].mean()) and row["repeats"] == 2
        model = build(tmp_path / "run" / "winners" / f"{row['winner']}.yaml", weights=True)
        images = load("digits", limit=200)
        assert evaluate(model, images.validation) == row["accuracy_weights"] == own["accuracy"].iloc[0]


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
        ({"training": {"teacher": {"model": "timm:resnet18@/no.pth"}}}, SpecError, "/no.pth: training.teacher: cannot"),
        ({"warm_start": ["nowhere"]}, RunError, "no search to start from"),
        (
            {"sampler": "grid", "parameters": {"loss.diagonal.weight": {"float": [0.1, 0.2]}}},
            SpaceError,
            "loss.diagonal.weight: grid tries every value, and this is a continuous range",
        ),
        ({"image_size": 7}, SpaceError.__base__, "stages.0.patch: patch 2 does not divide"),
        ({"parameters": {"stages.0.splt": {"int": [1, 2]}}}, SpaceError, "did you mean split"),
    ],
)
def test_what_cannot_work_ends_before_anything_is_written(tmp_path: Path, keys: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        search(spec(**keys), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_two_drivers_do_not_share_a_run(tmp_path: Path) -> None:
    with Ledger(tmp_path / "run").locked(), pytest.raises(RunError, match="busy: another process"):
        search(load_space("mixed").with_settings({"trials": 1}), tmp_path / "run")
