"""A search that begins with what earlier ones have found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.data import account_of, load
from nas.engine import Ledger
from nas.engine.record import write_record
from nas.errors import RunError
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.recorded import recorded
from nas.search.run import resolved
from nas.search.warm_start import earlier_runs, take_over
from tests.search.simulation import LAVIT, Killed, Simulation, estimate, sequence

DATA = account_of(load("digits"))


def _record(spec: SearchSpec) -> dict[str, Any]:
    return recorded(spec, resolved(spec, spec.task.load()).base)


def spec_of(**keys: object) -> SearchSpec:
    return SearchSpec.parse(parse_yaml(LAVIT) | {"trials": 8} | keys)


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    run = tmp_path / "earlier"
    write_record(run, id="0123456789abcdef", kind="search", seed=0, spec=_record(spec_of()))
    for trial in Simulation(spec_of(), run, fail={3}).run().trials:
        (trial.job.directory / "weights.safetensors").touch()
    return run


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
def test_trials_are_taken_over_and_not_trained_again(tmp_path: Path, earlier: Path, sampler: str) -> None:
    wanted = spec_of(sampler=sampler, trials=6)
    new = Simulation(wanted, tmp_path / "new")
    text = take_over(earlier_runs((str(earlier),), _record(wanted), DATA), new.ledger, new.space, wanted, estimate)
    assert text == "warm start: 7 of 7 complete trials are in this space and within its budget"

    table = Simulation(wanted, tmp_path / "new").run().table()
    assert len(table) == 7 + 6, "what is taken over does not count"
    assert not table["hash"].duplicated().any()
    old = Simulation(spec_of(), earlier).ledger.table()
    assert table["accuracy"][:7].tolist() == old["accuracy"].dropna().tolist()
    again = Simulation(wanted, tmp_path / "new")
    assert again.run().table().equals(table), "nothing is left to do"


def test_what_the_space_or_the_budget_excludes_stays_behind(tmp_path: Path, earlier: Path) -> None:
    splits = {"stages.0.split": {"int": [1, 3]}, "stages.1.split": {"int": [1, 4]}}
    narrow = spec_of(parameters=splits, budget={"macs": 950_000})
    new = Simulation(narrow, tmp_path / "new")
    runs = earlier_runs((str(earlier),), _record(narrow), DATA)
    found = take_over(runs, new.ledger, new.space, narrow, estimate)
    assert found.startswith("warm start: ")
    assert len(new.ledger.trials) < 7
    assert all(set(trial.job.parameters) == {"stages.0.split", "stages.1.split"} for trial in new.ledger.trials)
    assert all(trial.job.costs["macs"] <= 950_000 for trial in new.ledger.trials)


def test_what_would_be_near_the_front_without_weights_is_left_to_be_trained(tmp_path: Path, earlier: Path) -> None:
    trials = [trial for trial in Simulation(spec_of(), earlier).ledger.trials if trial.outcome.state == "complete"]
    best = max(trials, key=lambda trial: trial.outcome.accuracy)
    (best.job.directory / "weights.safetensors").unlink()
    new = Simulation(spec_of(), tmp_path / "new")
    text = take_over(
        earlier_runs((str(earlier),), _record(spec_of()), DATA), new.ledger, new.space, spec_of(), estimate
    )
    assert text.startswith("warm start: 6 of 7") and text.endswith(
        "1 more would be near the front, but their weights are gone"
    )
    assert best.job.hash not in {trial.job.hash for trial in new.ledger.trials}
    assert all((trial.job.directory / "weights.safetensors").exists() for trial in new.ledger.trials)


def test_a_kill_on_the_way_costs_nothing(tmp_path: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, left, add = earlier_runs((str(earlier),), _record(spec_of()), DATA), [4], Ledger.add

    def deadly(*arguments: Any, **keys: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            raise Killed
        return add(*arguments, **keys)

    monkeypatch.setattr(Ledger, "add", deadly)
    first = Simulation(spec_of(), tmp_path / "new")
    with pytest.raises(Killed):
        take_over(runs, first.ledger, first.space, spec_of(), estimate)
    monkeypatch.undo()
    again = Simulation(spec_of(), tmp_path / "new")
    assert len(again.ledger.trials) == 3
    take_over(runs, again.ledger, again.space, spec_of(), estimate)
    whole = Simulation(spec_of(), tmp_path / "whole")
    take_over(runs, whole.ledger, whole.space, spec_of(), estimate)
    assert sequence(again.ledger) == sequence(whole.ledger) and len(again.ledger.trials) == 7


def test_a_run_that_cannot_be_compared_is_refused(tmp_path: Path, earlier: Path) -> None:
    with pytest.raises(
        RunError, match=r"spec.training.epochs: its accuracies cannot be compared.*it had 15, here it is 3"
    ):
        earlier_runs((str(earlier),), _record(spec_of(training={"epochs": 3})), DATA)
    with pytest.raises(RunError, match="no search to start from"):
        earlier_runs((str(tmp_path / "nowhere"),), _record(spec_of()), DATA)


def test_weights_that_have_changed_are_not_taken_over(tmp_path: Path, earlier: Path) -> None:
    wanted = spec_of(trials=6)
    trial = next(trial for trial in Ledger(earlier).trials if trial.outcome and trial.outcome.state == "complete")
    trial.outcome.write(trial.job.directory)  # now with the digest of its weights
    (trial.job.directory / "weights.safetensors").write_bytes(b"others")
    new = Simulation(wanted, tmp_path / "new")
    with pytest.raises(
        RunError, match=rf"{trial.job.id}/weights\.safetensors: damaged \(it is not what the trial ended"
    ):
        take_over(earlier_runs((str(earlier),), _record(wanted), DATA), new.ledger, new.space, wanted, estimate)


def test_a_run_on_other_images_is_not_taken_over(tmp_path: Path) -> None:
    run, record = tmp_path / "earlier", _record(spec_of())
    write_record(run, id="0123456789abcdef", kind="search", seed=0, spec=record, data=DATA)
    assert earlier_runs((str(run),), record, DATA) == [run.resolve()]
    with pytest.raises(RunError, match=r"run\.yaml: data: its accuracies cannot be compared .* \(images_sha256 was"):
        earlier_runs((str(run),), record, DATA | {"images_sha256": "another"})
