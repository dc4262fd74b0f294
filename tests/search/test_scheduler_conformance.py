"""Every registered scheduler, in every variant listed here, obeys the same rules. A new scheduler joins by being
registered: its default options are tested at once, and `VARIANTS` is where its other options are added."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nas.engine import Job, Outcome
from nas.engine.job import read_rungs
from nas.errors import SpaceError
from nas.plain_yaml import parse_yaml
from nas.search import SearchSpec
from nas.search.schedulers import SCHEDULERS, Scheduler, SchedulerOptions, make_scheduler, scheduler_options
from tests.search.simulation import LAVIT, Simulation, killed_and_resumed, sequence

EPOCHS = 9
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "halving": [{"first": 2, "factor": 2}, {"first": 4, "factor": 3}],
}
CASES = [{"name": name, **options} for name in SCHEDULERS for options in [{}, *VARIANTS.get(name, [])]]
IDS = ["-".join(str(value) for value in case.values()) for case in CASES]
every_case = pytest.mark.parametrize("case", CASES, ids=IDS)


def spec(case: dict[str, Any], **keys: object) -> SearchSpec:
    wide = {"stages.{0,1}.mlp_ratio": {"choice": [1.0, 2.0, 3.0]}}
    data = parse_yaml(LAVIT)
    data["parameters"] |= wide
    fixed = {"trials": 16, "sampler": "random", "training": {"epochs": EPOCHS}, "budget": {"macs": 1_100_000}}
    return SearchSpec.parse(data | fixed | {"scheduler": case} | keys)


class Recorded(Simulation):
    """A simulation that keeps what the source handed out, and what it was told."""

    def __init__(self, *arguments: Any, **others: Any):
        super().__init__(*arguments, **others)
        self.told: list[tuple[Job, Outcome]] = []

    def _end(self, job: Job) -> None:
        super()._end(job)
        self.told.append((job, self.ledger.trial(job.number).outcome or read_rungs(job.directory)[job.until]))


@every_case
def test_every_trial_ends_once_and_is_trained_in_steps_to_at_most_the_last_epoch(
    case: dict[str, Any], tmp_path: Path
) -> None:
    simulation = Recorded(spec(case), tmp_path, workers=3, fail={3})
    table = simulation.run().table()
    assert table["state"].isin(["complete", "pruned", "failed", "infeasible"]).all(), "nothing stays open"
    assert table["state"].isin(["complete", "pruned", "failed"]).sum() == 16
    assert (table["state"] == "complete").any()
    assert (table.loc[table["state"] == "complete", "epochs"] == EPOCHS).all()

    steps: dict[int, list[int]] = {}
    for job, _ in simulation.told:
        steps.setdefault(job.number, []).append(job.until or EPOCHS)
    for reached in steps.values():
        assert reached == sorted(set(reached)) and reached[0] >= 1 and reached[-1] <= EPOCHS
    ended = Counter(job.number for job, outcome in simulation.told if outcome.state != "paused")
    pruned = [int(event.trial) for event in simulation.events if event.kind == "ended"]
    assert (ended + Counter(pruned)) == Counter(steps.keys()), "each ends once"
    assert table.set_index("trial")["reason"].loc[[f"{number:04d}" for number in pruned]].str.len().gt(0).all()


@every_case
def test_decisions_do_not_depend_on_workers_or_kills(case: dict[str, Any], tmp_path: Path) -> None:
    wanted = spec(case, sampler="tpe")
    straight = Simulation(wanted, tmp_path / "straight", order=1, fail={3}).run()
    reordered = Simulation(wanted, tmp_path / "reordered", order=2, workers=3, fail={3}).run()
    assert sequence(reordered) == sequence(straight)
    killed, kills = killed_and_resumed(wanted, tmp_path / "killed", steps=9)
    assert kills > 1
    assert sequence(killed) == sequence(straight)


@every_case
def test_the_same_calls_give_the_same_decisions(case: dict[str, Any]) -> None:
    def decided() -> list[Any]:
        scheduler, rng = make_scheduler(scheduler_options(case), EPOCHS), np.random.default_rng(0)
        found: list[Any] = []
        waiting = [(number, scheduler.start()) for number in range(40)]
        for number, until in waiting:
            if until is None:
                continue
            scheduler.pause(number, until, rng.integers(0, 5, 2).astype(float))
            found.append(scheduler.looks_final(number, until))
            if number % 9 == 0:
                scheduler.withdraw(number)
            while (promotion := scheduler.promote()) is not None:
                assert promotion not in found, "each is returned once"
                assert promotion[0] % 9 or promotion[0] > number, "never one that was withdrawn"
                found.append(promotion)
                waiting.append(promotion)
        return found

    assert decided() == decided()
    assert 1 <= make_scheduler(scheduler_options(case), EPOCHS).mean_epochs() <= EPOCHS


@pytest.mark.parametrize("name", list(SCHEDULERS))
def test_options_are_validated_and_survive_a_dump(name: str) -> None:
    with pytest.raises(SpaceError, match=f"the scheduler {name} takes no 'colour'") as caught:
        scheduler_options({"name": name, "colour": 1})
    assert caught.value.path == "colour"
    options = scheduler_options(name)
    assert scheduler_options(options.model_dump(mode="json")) == options


@every_case
def test_repeats_are_refused_or_trained(case: dict[str, Any], tmp_path: Path) -> None:
    if not SCHEDULERS[case["name"]].repeats:
        with pytest.raises(SpaceError, match=f"{case['name']} trains every genome once"):
            spec(case, repeat=2)
        return
    table = Simulation(spec(case, repeat=2, trials=3), tmp_path).run().table()
    assert (table["state"] == "complete").sum() == 6


def test_a_new_scheduler_is_one_class(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class ThresholdScheduler(Scheduler):
        """Trials that are accurate enough at one third of the epochs go on."""

        class Options(SchedulerOptions):
            accuracy: float = 0.5

        adaptive = True

        def __init__(self, options: Options, epochs: int):
            super().__init__(options, epochs)
            self.accuracy = options.accuracy
            self._due: list[int] = []
            self._good: set[int] = set()

        def start(self) -> int:
            return self.epochs // 3

        def mean_epochs(self) -> float:
            return self.epochs

        def pause(self, number: int, until: int, point_M: np.ndarray) -> None:
            if -point_M[0] > self.accuracy:
                self._due.append(number)
                self._good.add(number)

        def promote(self) -> tuple[int, None] | None:
            return (self._due.pop(0), None) if self._due else None

        def looks_final(self, number: int, until: int) -> bool:
            return number not in self._good

    monkeypatch.setitem(SCHEDULERS._members, "threshold", ThresholdScheduler)
    table = Simulation(spec({"name": "threshold", "accuracy": 0.75}), tmp_path).run().table()
    trained = table[table["state"] != "infeasible"]
    assert set(trained["epochs"]) == {EPOCHS // 3, EPOCHS}
    assert set(trained.loc[trained["state"] == "pruned", "reason"]) == {"paused after 3 epochs"}
