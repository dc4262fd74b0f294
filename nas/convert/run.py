"""A whole conversion: library, scores, choice, repair, winners; called by `nas convert`.

    results/<run>/   run.yaml, start.yaml + .safetensors, labels.json (if the images have no labels), library/,
                     scores.csv, sensitivity.csv, shared.csv (with `sharing`), trials/<id>/, trials.csv,
                     assemblies.csv, front.csv, winners/, latency-1.json, report.html

Trial 0 is the model itself, trained like the others; then the chosen assemblies, cheapest first. A trial starts from
the parent's weights with the library's pieces in their layers, and learns from the parent (nas/train/distillation.py).
Called again with the same directory, a conversion goes on where it was: with the library's round, the scores that are
missing, the trials that have not ended. All user errors are found before the directory is made.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from nas.convert.candidates import KEEP, Assembly, assembled, key_of
from nas.convert.measuring import Measuring
from nas.convert.opening import Plan, begun, crew_of, planned, upgraded
from nas.convert.plan import Explored, Parts, Pick, explored, problem, repaired
from nas.convert.repair import Repair
from nas.convert.rivals import rivals
from nas.convert.score import Score
from nas.convert.sharing import Together, run_together
from nas.convert.shelf import LIBRARY, SCORES, SHARED, Shelf
from nas.convert.spec import ConversionSpec, recipe
from nas.convert.workers import States
from nas.engine import Job, Ledger, OnEvent, Run, Signal
from nas.engine.events import ignore
from nas.engine.job import Outcome
from nas.engine.start import NAME
from nas.engine.training import TrainJob
from nas.errors import RunError
from nas.model import Donor
from nas.search.winners import FrontSpec, RunExaminer, write_front
from nas.seeds import derive
from nas.train import Task


@dataclass(frozen=True)
class ConversionResult:
    """The tables of the run's files of the same names. sensitivity: a row per layer and candidate.

    Accuracy is agreement with the parent where the images have no labels.
    """

    directory: Path
    sensitivity: pd.DataFrame
    assemblies: pd.DataFrame
    trials: pd.DataFrame
    front: pd.DataFrame


def convert(spec: ConversionSpec, directory: Path, *, on_event: OnEvent = ignore) -> ConversionResult:
    """Run or resume a conversion in a run directory. Raises SpecError for user errors, before anything is written.

    >>> convert(ConversionSpec.parse({"start": "winner.yaml"}), Path("results/converted")).front
    """
    plan = planned(Run(directory, "conversion", spec, upgraded), on_event)
    run = plan.run
    with run.opened(on_event):
        plan = begun(plan)
        shelf = _shelf(plan)
        with crew_of(plan) as crew:
            measuring = Measuring(plan.parts, shelf, crew, spec.library.rounds, plan.say)
            library = measuring.library()
            states: States = {"-".join(place): content["attention"] for place, content in library.items()}
            single = measuring.singles(states)
            lost = [" ".join(place) for place, score in single.items() if not math.isfinite(score.kl)]
            if lost:
                plan.say(f"left out, since their answers are not finite numbers: {', '.join(lost)}")
            table = measuring.sensitivity(library, single)
            run.write_csv("sensitivity.csv", table)
            found = problem(plan.parts, single, plan.budget)
            measure = partial(measuring.scored, states)
            seen = explored(plan.parts, found, spec.sweep, plan.budget, points=spec.points, tried=spec.tried,
                            seed=spec.seed, measure=measure)  # fmt: skip
            picks, base = seen.picks(), plan.donor
            if spec.sharing.epochs:
                base, states, picks = _shared(plan, measuring, states, seen)
            picks += rivals(plan.parts, spec.compare, picks, spec.sweep, plan.budget, seed=spec.seed, measure=measure)
        how = "repairing {}, by distillation from the model itself" if spec.repair else "evaluating {} as they are"
        plan.say(how.format(f"{len(picks)} assemblies"))
        teacher = plan.donor if spec.training.teacher is None else None  # no worker reads its file
        work = Repair(
            base, spec.candidates, states, TrainJob.on(run.pool, _repaired(plan), teacher=teacher), spec.repair
        )
        try:
            run.train(Assemblies(plan.parts, picks, run.ledger, seed=spec.seed), work, on_event)
        except KeyboardInterrupt:
            if run.ledger.trials:
                write_front(_fronted(run, plan), None)
            raise
        fronted = _fronted(run, plan)
        assemblies = repaired(picks, plan.parts.layers, run.ledger.table(), spec.sweep)
        run.write_csv("assemblies.csv", assemblies)
        front = write_front(fronted, RunExaminer(fronted, plan.task, spec.workers.device, on_event))
    return ConversionResult(run.directory, table, assemblies, run.ledger.table(), front)


class Assemblies:
    """The jobs of a conversion, for the engine: the model itself, then the picks in their order, each assembly once."""

    def __init__(self, parts: Parts, picks: Sequence[Pick], ledger: Ledger, *, seed: int):
        self.parts, self.ledger, self.seed = parts, ledger, seed
        scores: dict[str, Score | None] = {key_of(pick.assembly): pick.score for pick in picks}
        known = {key_of(trial.job.parameters) for trial in ledger.trials}
        nothing: Assembly = {}
        wanted = {key_of(nothing): nothing} | {key_of(pick.assembly): pick.assembly for pick in picks}
        self.todo = [(each, scores.get(key)) for key, each in wanted.items() if key not in known]

    def unfinished(self) -> list[Job]:
        return self.ledger.unfinished

    def next(self) -> Job | Signal:
        if not self.todo:
            return Signal.DONE
        assembly, score = self.todo.pop(0)
        genome = assembled(self.parts.parent, assembly, self.parts.candidates)
        return self.ledger.add(
            genome,
            number=self.ledger.gap,
            seed=derive(self.seed, "trial", key_of(assembly)),
            hash=genome.hash,
            parameters={layer: assembly.get(layer, KEEP) for layer in self.parts.layers},
            costs=self.parts.estimate(genome),
            note={"draw": -1 if score is None else 0, "margin": -1.0} | (asdict(score) if score is not None else {}),
        )

    def tell(self, job: Job, outcome: Outcome) -> None:
        """Later trials do not depend on the outcome of earlier ones."""


def _shelf(plan: Plan, after: Donor | None = None) -> Shelf:
    """Pieces and scores of the run; after: of a shared training that left the parent so."""
    run = plan.run
    whose = "/".join(part for part in (plan.donor.digest, run.ledger.id, after and after.digest) if part)
    return Shelf(run.directory, whose, run.storage, SCORES if after is None else SHARED)


def _shared(plan: Plan, measuring: Measuring, states: States, seen: Explored) -> tuple[Donor, States, list[Pick]]:
    """The parent and the pieces after a shared training of what was seen, and what is then picked."""
    run, spec = plan.run, plan.run.spec
    nothing: Assembly = {}
    members = [nothing, *seen.promising(spec.sharing.assemblies)]
    plan.say(f"training {len(members)} assemblies together, {spec.sharing.epochs} epochs")
    training = spec.sharing.recipe(spec.training, run.directory / NAME)
    taught, seed = spec.training.teacher is None, derive(spec.seed, "sharing")
    work = Together(run.directory / LIBRARY, run.storage, training, members, states, taught, seed)
    made: dict[int, tuple[Donor, States] | str] = {}
    measuring.crew.each("training assemblies together", run_together, [(work,)], made.__setitem__)
    if isinstance(made[0], str):
        raise RunError(made[0])
    base, states = made[0]
    scores = replace(measuring, shelf=_shelf(plan, base)).scored(states, members, base)
    after = {key_of(each): score for each, score in zip(members, scores, strict=True) if math.isfinite(score.kl)}
    return base, states, seen.picks(after)


def _repaired(plan: Plan) -> Task:
    """Data and recipe of the repair."""
    spec = plan.run.spec
    return replace(plan.task, training=recipe(spec, plan.run.directory / NAME))


def _fronted(run: Run[ConversionSpec], plan: Plan) -> Run[Any]:
    """The run as the front sees it: with its budget in the metrics' units."""
    spec = run.spec
    fronted: Run[Any] = copy(run)
    fronted.spec = FrontSpec(spec.objectives, plan.budget, plan.task, spec.workers, spec.limits, spec.storage)
    return fronted
