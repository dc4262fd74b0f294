"""Warm start: import complete trials of earlier runs into a new run.

Runs are comparable if they trained with the same recipe on the same data and from the same weights, if any; other runs
are refused, naming the key that differs. A trial is imported if the new space can express it (its parameters give
exactly the same genome) and it is within the new budget. Imported trials do not count towards `trials`, are not
retrained, are eligible for the front, and are reported to the sampler at the start. Their costs are re-estimated with
the new run's own timings.

An earlier run has kept weights only of trials near its own front (nas/search/retention.py). With other objectives or
budgets, trials without weights may now be near the front: these are not imported and may be trained again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nas.engine import Ledger, Outcome, Trial
from nas.engine.digests import check_weights
from nas.engine.record import changed_images, read_record
from nas.errors import GenomeError, RunError, shown
from nas.genome import Genome
from nas.genome.describe import describe
from nas.metrics import Costs, Estimate
from nas.paths import difference
from nas.search.budget import Budget
from nas.search.pareto import costs_of, near_front
from nas.search.recorded import upgraded
from nas.search.space import SearchSpace
from nas.search.spec import SearchSpec

FILES = ("metrics.csv", "weights.safetensors")
COMPARED = ("data", "image_size", "training")


def earlier_runs(sources: tuple[str, ...], spec: dict[str, Any], data: dict[str, Any]) -> list[Path]:
    """The directories of earlier runs. data: the account of the images here.

    Raises RunError for a run that is not a search, or not comparable: of another spec, or other images.
    """
    return [_comparable(source, spec, data) for source in sources]


@dataclass(frozen=True)
class _Taken:
    """An earlier trial that fits, with its costs in the new run."""

    trial: Trial
    origin: str
    genome: Genome
    costs: Costs

    @property
    def outcome(self) -> Outcome:
        assert self.trial.outcome is not None
        return replace(self.trial.outcome, costs=self.costs)

    @property
    def files(self) -> list[Path]:
        return [path for name in FILES if (path := self.trial.job.directory / name).exists()]


def take_over(runs: list[Path], ledger: Ledger, space: SearchSpace, search: SearchSpec, estimate: Estimate) -> str:
    """Copy the trials that fit and are not yet in the ledger; returns a summary sentence."""
    fitting: dict[str, _Taken] = {}
    found = 0
    for run in runs:
        for trial in Ledger(run).trials:
            if trial.outcome is None or trial.outcome.state != "complete":
                continue
            found += 1
            genome = _expressed(space, trial)
            if genome is None or genome.hash in fitting:
                continue
            costs = estimate(genome)
            if search.budget.refusal(costs) is None:
                fitting[genome.hash] = _Taken(trial, f"{run.name}/{trial.job.id}", genome, costs)
    taken = _with_weights_near_the_front(list(fitting.values()), list(search.objectives))
    known = {trial.job.note.get("from") for trial in ledger.trials}  # after an interruption
    for one in taken:
        if one.origin not in known:
            _copy(one, ledger, search.budget)
    text = f"warm start: {len(taken)} of {found} complete trials are in this space and within its budget"
    left = len(fitting) - len(taken)
    return f"{text}; {left} more would be near the front, but their weights are gone" if left else text


def _with_weights_near_the_front(taken: list[_Taken], objectives: list[str]) -> list[_Taken]:
    """Drop trials near the front that lack weights, until no such trial remains."""
    while taken:
        costs_NM = np.stack([costs_of(one.outcome, objectives) for one in taken])
        near_N = near_front(costs_NM)
        kept = [
            one for one, near in zip(taken, near_N, strict=True) if not near or FILES[-1] in {f.name for f in one.files}
        ]
        if len(kept) == len(taken):
            break
        taken = kept
    return taken


def _comparable(source: str, spec: dict[str, Any], data: dict[str, Any]) -> Path:
    run = Path(source) if len(Path(source).parts) > 1 else Path("results") / source
    record = read_record(run)
    if record is None or record.get("kind") != "search":
        raise RunError("no search to start from: it has no run.yaml of one", file=run, path="warm_start")
    then, now = (_compared(side) for side in (upgraded(record["spec"]), spec))
    if (change := difference(then, now)) is not None:
        differs = f"it had {shown(change.old)}, here it is {shown(change.new)}"
        message = f"its accuracies cannot be compared with this run's: {differs}"
        raise RunError(message, file=run / "run.yaml", path=f"spec.{change.path}")
    then = record.get("data", {})
    if record.get("seed") != spec["seed"]:  # which carves another validation split of the same images
        then = {key: value for key, value in then.items() if key != "images_sha256"}
    if (changed := changed_images(then, data)) is not None:
        message = f"its accuracies cannot be compared with this run's: the images have changed ({changed})"
        raise RunError(message, file=run / "run.yaml", path="data")
    return run.resolve()


def _compared(spec: dict[str, Any]) -> dict[str, Any]:
    """What has to be alike: of the training its values, whichever recipe they come from."""
    compared = {key: spec.get(key) for key in COMPARED}
    return compared | {"training": dict(spec["training"]) | {"recipe": None}}


def _expressed(space: SearchSpace, trial: Trial) -> Genome | None:
    """The trial's genome, if this space can express it."""
    given = trial.job.parameters
    wanted = space.assign(lambda parameter: given.get(parameter.path))
    held = all(parameter.holds(wanted[parameter.path]) for parameter in space.parameters if parameter.path in wanted)
    if not held or wanted != given:
        return None
    try:
        genome = space.genome(wanted)
    except GenomeError:
        return None
    return genome if genome.hash == trial.job.hash else None


def _copy(one: _Taken, ledger: Ledger, budget: Budget) -> None:
    check_weights(one.trial.job.directory)
    ledger.add(
        one.genome,
        outcome=one.outcome,
        files=one.files,
        seed=one.trial.job.seed,
        hash=one.genome.hash,
        parameters=one.trial.job.parameters,
        costs=one.costs,
        note={
            "draw": -1,
            "margin": max(budget.violations(one.costs).values(), default=-1.0),
            "layers": describe(one.genome),
            "from": one.origin,
        },
    )
