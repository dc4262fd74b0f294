"""The Optuna study that a dashboard shows: equal to the ledger, whatever was killed, lost or locked in between."""

from __future__ import annotations

import math
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from nas.engine import Event, Job, Ledger, Outcome
from nas.errors import RunError, SpaceError
from nas.genome import load_genome
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec, front_of
from nas.search import study as module
from nas.search.space import SearchSpace
from nas.search.study import Study, StudyWriter, check_url, study_of
from nas.search.study_rows import add_trials, attributes_of
from tests.search.postgres import Server, binaries
from tests.search.simulation import LAVIT, Simulation

BUDGET = {"budget": {"macs": 950_000}}
DIRECTORY = "run"


def spec(**keys: object) -> SearchSpec:
    return SearchSpec.parse(parse_yaml(LAVIT) | {"trials": 10, "sampler": "random"} | BUDGET | keys)


class Watched(Simulation):
    """A simulation that tells its events as the engine does."""

    def run_with(self, url: str, **arguments: int | None) -> list[str]:
        """Run with a study beside it; what was said about it."""
        name, goals = self.ledger.directory.name, self.spec.objectives
        with StudyWriter(self.ledger, url, name, self.space, goals, self.events.append) as self.writer:
            self.candidates.on_event = self.writer
            self.run(**arguments)
        return [event.data["text"] for event in self.events if event.kind == "message"]

    def _end(self, job: Job) -> None:
        super()._end(job)
        self.writer(Event("ended", job.id))


def url_in(directory: Path) -> str:
    return f"sqlite:///{directory}/optuna.db"


def load_study(url: str, name: str = DIRECTORY) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=url)


def assert_shows(study: optuna.Study, ledger: Ledger, wanted: SearchSpec) -> None:
    told = {trial.user_attrs["trial"]: trial for trial in study.trials}
    assert len(study.trials) == len(told) == len(ledger.trials)
    states = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "infeasible": TrialState.FAIL}
    for job, outcome in ((trial.job, trial.outcome) for trial in ledger.trials):
        assert outcome is not None
        trial = told[job.number]
        assert trial.number == job.number
        assert trial.state == states[outcome.state]
        assert trial.user_attrs["state"] == outcome.state
        assert trial.user_attrs.get("reason") == outcome.reason
        assert (trial.user_attrs["hash"], trial.user_attrs["macs"]) == (job.hash, outcome.value("macs"))
        assert trial.params == job.parameters
        assert (trial.constraints["budget"] > 0) == (outcome.state == "infeasible")
        if outcome.state == "complete":
            assert trial.values == [outcome.value(name) for name in wanted.objectives]
    front = front_of(ledger.table(), list(wanted.objectives))["trial"]
    assert sorted(trial.user_attrs["trial"] for trial in study.best_trials) == sorted(map(int, front))
    assert study.metric_names == list(wanted.objectives)


def test_a_study_shows_the_run(tmp_path: Path) -> None:
    wanted, run = spec(), tmp_path / DIRECTORY
    simulation = Watched(wanted, run, fail={4})
    assert simulation.run_with(url_in(run)) == []
    assert {trial.outcome.state for trial in simulation.ledger.trials if trial.outcome} == {
        *("complete", "failed", "infeasible")
    }
    assert_shows(load_study(url_in(run)), simulation.ledger, wanted)

    longer = wanted.with_settings({"trials": 14})
    resumed = Watched(longer, run, fail={4})
    assert resumed.run_with(url_in(run)) == []
    assert_shows(load_study(url_in(run)), resumed.ledger, longer)

    (run / "optuna.db").unlink()
    Watched(longer, run, fail={4}).run_with(url_in(run))
    assert_shows(load_study(url_in(run)), resumed.ledger, longer)


def test_a_space_says_where_the_study_is(tmp_path: Path) -> None:
    wanted, ledger = spec(), Ledger(tmp_path / DIRECTORY)
    space = SearchSpace(wanted.genome(), wanted.expanded())
    events: list[Event] = []
    with study_of(ledger, "off", DIRECTORY, space, wanted.objectives, events.append) as listener:
        listener(Event("ended", "0000"))
    assert events == [Event("ended", "0000")]
    assert not ledger.directory.exists()

    ledger = Simulation(spec(trials=2), ledger.directory).run()
    for study, url in ((None, url_in(ledger.directory)), (url_in(tmp_path), url_in(tmp_path))):
        with study_of(ledger, study, "mine", space, wanted.objectives, events.append):
            pass
        assert len(load_study(url, "mine").trials) == len(ledger.trials)


KILLED = """
import sys, time
from pathlib import Path
from nas.engine import Ledger
from nas.plain_yaml import read_yaml
from nas.search import SearchSpec
from nas.search.space import SearchSpace
from nas.search import study
study.BATCH = 2
add, calls = study.Study.add, []

def slowly(self, trials):
    add(self, trials)
    calls.append(trials)
    if len(calls) == 3:
        time.sleep(600)  # killed before

study.Study.add = slowly
spec, run = SearchSpec.parse(read_yaml(Path(sys.argv[1]))), Path(sys.argv[2])
space = SearchSpace(spec.genome(), spec.expanded())
with study.StudyWriter(Ledger(run), sys.argv[3], run.name, space, spec.objectives, print):
    pass
"""


def test_what_a_kill_kept_from_the_study_is_added_later(tmp_path: Path) -> None:
    wanted, run = spec(trials=25), tmp_path / DIRECTORY
    ledger = Simulation(wanted, run).run()
    (tmp_path / "space.yaml").write_text(wanted.model_dump_json())
    command = [sys.executable, "-c", KILLED, str(tmp_path / "space.yaml"), str(run), url_in(run)]
    driver = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])})
    while not _count(run / "optuna.db") >= 3:
        assert driver.poll() is None
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    assert 3 <= _count(run / "optuna.db") < len(ledger.trials)

    Watched(wanted, run).run_with(url_in(run))
    assert_shows(load_study(url_in(run)), ledger, wanted)


def _count(database: Path) -> int:
    """Trials in an SQLite file that another process is writing."""
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            return int(connection.execute("SELECT count(*) FROM trials").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet, or locked for a moment
        return 0


def test_a_trial_that_is_run_again_replaces_what_was_told_of_it(tmp_path: Path) -> None:
    wanted, run = spec(trials=4), tmp_path / DIRECTORY
    Watched(wanted, run).run_with(url_in(run))
    shutil.rmtree(run / "trials" / "0003")
    again = Watched(wanted, run, fail={4})
    again.run_with(url_in(run))
    assert_shows(load_study(url_in(run)), again.ledger, wanted)


def test_two_runs_of_one_name_do_not_mix(tmp_path: Path) -> None:
    url = url_in(tmp_path)
    first = Watched(spec(), tmp_path / "a" / DIRECTORY)
    assert first.run_with(url) == []
    second = Watched(spec(seed=1), tmp_path / "b" / DIRECTORY)
    said = second.run_with(url)
    assert "there is another run's study 'run' in it" in said[0]
    assert "optuna delete-study" in said[0]
    assert said[1:] == [f"{len(second.ledger.trials)} trials are not in the Optuna study yet; " + NEXT]
    assert_shows(load_study(url), first.ledger, spec())

    optuna.create_study(storage=url, study_name="mine").add_trial(optuna.create_trial(value=1.0))
    space = SearchSpace(spec().genome(), spec().expanded())
    with pytest.raises(RunError, match="another run's study 'mine'"):
        Study(url, "mine", space, spec().objectives, first.ledger.trials[0].job)


NEXT = "the next start of this run adds them"


def test_a_damaged_database_does_not_stop_a_search(tmp_path: Path) -> None:
    wanted, run = spec(), tmp_path / DIRECTORY
    run.mkdir()
    (run / "optuna.db").write_bytes(b"no database" * 1000)
    simulation = Watched(wanted, run)
    said = simulation.run_with(url_in(run))
    assert len(said) == 2
    assert said[0].endswith("the search goes on, and tries again: file is not a database")
    assert said[1].endswith(NEXT)
    assert (simulation.ledger.table()["state"] == "complete").sum() == 10


def test_every_kind_of_parameter_reads_as_a_person_writes_it(tmp_path: Path) -> None:
    parameters = {
        "stages.0.split": {"int": [1, 3], "step": 2},
        "stages.{0,1}.core": {"choice": ["softmax", {"block": "softmax", "relative": True}]},
        "loss.diagonal.weight": {"float": [0.01, 0.1], "log": True},
        "stages.1.mlp_ratio": {"float": [1.0, 3.0], "step": 0.5},
        "stages.1.width": {"choice": [32, 64]},
    }
    wanted, run = spec(parameters=parameters, budget={}, trials=6), tmp_path / DIRECTORY
    simulation = Watched(wanted, run)
    assert simulation.run_with(url_in(run)) == []
    trials = {trial.user_attrs["trial"]: trial for trial in load_study(url_in(run)).trials}
    for job in (trial.job for trial in simulation.ledger.trials[1:]):
        params = trials[job.number].params
        assert trials[job.number].constraints == {}
        assert params["stages.0.split"] == job.parameters["stages.0.split"] in (1, 3)
        assert params["stages.1.mlp_ratio"] == job.parameters["stages.1.mlp_ratio"]
        assert params["loss.diagonal.weight"] == job.parameters["loss.diagonal.weight"]
        assert params["stages.0.core"] in ("softmax", '{"block": "softmax", "relative": true}')
        assert params["stages.1.width"] == str(job.parameters["stages.1.width"])


def test_a_pruned_trial_and_one_that_is_outside_of_the_space(tmp_path: Path) -> None:
    wanted, ledger = spec(), Ledger(tmp_path / DIRECTORY)
    space, base = SearchSpace(wanted.genome(), wanted.expanded()), load_genome("lavit_digits")
    parameters = {"stages.0.split": 9, "elsewhere": 1, "stages.1.split": 2}
    job = ledger.add(base, seed=0, hash=base.hash, parameters=parameters, note={"margin": -0.5})
    ledger.finish(job, Outcome.of(job, "pruned", accuracy=0.5, epochs=1, reason="halved", seconds=60.0))
    study = Study(url_in(tmp_path), DIRECTORY, space, wanted.objectives, job)
    study.add(ledger.trials)
    study.add(ledger.trials)
    (trial,) = load_study(url_in(tmp_path)).trials
    assert (trial.state, trial.values, trial.params) == (TrialState.PRUNED, None, {"stages.1.split": 2})
    assert trial.duration is not None and trial.duration.total_seconds() == 60


def test_rows_are_those_that_optuna_writes(tmp_path: Path) -> None:
    """All that Optuna reads back of a trial, numbers and values that are not finite included."""
    parameters = {"rate": FloatDistribution(1e-4, 1e-1, log=True), "core": CategoricalDistribution(["a", "b"])}
    trials = [
        optuna.create_trial(
            values=[0.5, math.inf], params={"rate": 0.01, "core": "b"}, distributions=parameters,
            user_attrs={"trial": 3, "reason": "é"}, constraints={"budget": 0.25},
        ),
        optuna.create_trial(state=TrialState.PRUNED),
        optuna.create_trial(state=TrialState.FAIL, params={"core": "a"}, distributions={"core": parameters["core"]}),
    ]  # fmt: skip
    for number, trial in enumerate(trials):
        trial.number = number
    ours, theirs = (
        optuna.create_study(storage=url_in(tmp_path), study_name=name, directions=["maximize", "minimize"])
        for name in ("ours", "theirs")
    )
    storage = optuna.storages.RDBStorage(url_in(tmp_path))
    add_trials(storage, ours._study_id, trials[:1])
    add_trials(storage, ours._study_id, trials[1:])
    for trial in trials:
        theirs.add_trial(trial)
    for one, other in zip(ours.get_trials(), theirs.get_trials(), strict=True):
        assert vars(one) | {"_trial_id": 0} == vars(other) | {"_trial_id": 0}
    assert attributes_of(storage, ours._study_id, ["trial", "state"]) == [
        {"number": 0, "trial": 3},
        *({"number": 1}, {"number": 2}),
    ]


def test_a_study_that_was_numbered_as_trials_ended_is_made_anew(tmp_path: Path) -> None:
    """As earlier versions did."""
    wanted, run = spec(), tmp_path / DIRECTORY
    ledger = Simulation(wanted, run).run()
    space = SearchSpace(wanted.genome(), wanted.expanded())
    study = Study(url_in(run), DIRECTORY, space, wanted.objectives, ledger.trials[0].job)
    for number, trial in enumerate(reversed(ledger.trials)):
        frozen = study._frozen(trial)
        frozen.number = number
        add_trials(study.storage, study.study._study_id, [frozen])
    Watched(wanted, run).run_with(url_in(run))
    assert_shows(load_study(url_in(run)), ledger, wanted)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("optuna.db", "expected sqlite:///FILE or postgresql://USER@HOST/DATABASE, found 'optuna.db'"),
        ("mysql://me@host/db", "no database 'mysql'; allowed: postgresql, sqlite"),
        ("postgresql://me:secret@host/db", "leave the password to ~/.pgpass"),
    ],
)
def test_a_url_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(SpaceError, match=message) as error:
        check_url(url)
    assert "secret" not in str(error.value)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if binaries() is None:
        pytest.skip("no PostgreSQL server on this machine (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="no driver: pip install 'nas-vit[postgres]'")
    server = Server()
    server.start()
    yield server
    server.remove()


def test_a_study_on_a_server(tmp_path: Path, server: Server) -> None:
    url, wanted = check_url(server.url), spec()
    run = tmp_path / "on_a_server"
    simulation = Watched(wanted, run, fail={4})
    assert simulation.run_with(url) == []
    assert_shows(load_study(url, "on_a_server"), simulation.ledger, wanted)

    longer = wanted.with_settings({"trials": 14})
    resumed = Watched(longer, run, fail={4})
    assert resumed.run_with(url) == []
    assert_shows(load_study(url, "on_a_server"), resumed.ledger, longer)


def test_a_server_that_goes_away_and_comes_back(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is gone for some trials in the middle; in the end the study has them all."""
    monkeypatch.setattr(module, "RETRY", 0.1)
    url, wanted, run = check_url(server.url), spec(), tmp_path / "twice"

    class Gone(Watched):
        count = 0

        def _end(self, job: Job) -> None:
            self.count += 1
            if self.count == 4:
                server.stop()
            super()._end(job)
            if self.count == 4:
                while self.writer._error is None:
                    time.sleep(0.05)
            if self.count == 6:
                server.start()

    simulation = Gone(wanted, run, workers=1)
    said = simulation.run_with(url)
    assert len(said) == 1
    assert "cannot be written; the search goes on" in said[0]
    assert_shows(load_study(url, "twice"), simulation.ledger, wanted)
