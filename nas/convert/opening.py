"""From a spec to a conversion that is ready to run: what the user gave is checked, the parent kept, images labelled.

`planned` writes nothing, and finds all mistakes of the user. `begun` writes what precedes the first piece: tables of
timings, start.yaml, labels, run.yaml.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from nas.convert.candidates import KEEP, assembled, listed, offered
from nas.convert.labelling import MEANING, check_labels, check_recipe, kept_labels, label, named
from nas.convert.outlook import check_budget, outlook
from nas.convert.plan import Parts
from nas.convert.spec import ConversionSpec
from nas.convert.workers import Common, Crew
from nas.data import ImageSet, absolute, account_of, labelled
from nas.engine import Event, OnEvent, Run
from nas.engine.scale import introduce
from nas.engine.start import check_start, keep_start
from nas.errors import SpecError
from nas.metrics import METRICS, batch_sizes, estimator
from nas.model import Donor
from nas.profiling import LatencyTable, run_tables, table_file
from nas.search.budget import Budget
from nas.train import Task, check_teacher, fitted
from nas.train.ranks import check_shares

MAY_DIFFER = {
    "training.checkpoint_every",
    "workers",
    "limits",
    "name",
    "notes",
    "storage",
    "max_pixels",
    "start",
    "compare",
}  # when a run is resumed
LEAST = 50  # validation images: fewer cannot tell one model from another


@dataclass(frozen=True)
class Plan:
    """A conversion that is ready to run: all user input has been checked. unlabelled: the images have no labels."""

    run: Run[ConversionSpec]
    on_event: OnEvent
    record: dict[str, Any]
    task: Task
    unlabelled: bool
    images: ImageSet
    donor: Donor
    parts: Parts
    budget: Budget
    tables: dict[int, LatencyTable]

    def say(self, text: str) -> None:
        self.on_event(Event("message", data={"text": text}))


def planned(run: Run[ConversionSpec], on_event: OnEvent) -> Plan:
    """Check all user input. Nothing is written."""
    spec = run.spec = run.spec.resumed(run.begun)
    images, task = spec.task.prepared()
    whole = spec.donor
    assert whole is not None  # the spec has a start
    unlabelled = not images.classes
    account = account_of(named(images, whole.genome) if unlabelled else images)
    if unlabelled:
        check_recipe(spec.training, spec.sharing)
        task = replace(task, labels=kept_labels(run.directory) if run.begun is not None else None)
        images = labelled(images, task.labels) if task.labels is not None else named(images, whole.genome)
    donor, head = whole.for_classes(images.classes)
    if "head.weight" not in donor.state:
        raise SpecError(
            f"the model does not know the classes of {images.name}: train it on them first ({head})"
            "; where folders are no classes, write images:PATH"
        )
    donor = replace(donor, genome=listed(fitted(donor.genome, images)))
    if task.labels is not None:
        check_labels(task.labels, donor.digest, run.directory)
    check_shares(spec.training, images, spec.workers.ranks)
    check_teacher(spec.training.teacher, donor.genome, images)
    if len(images.validation) < LEAST:
        message = f"{len(images.validation)} validation images cannot tell models apart; {LEAST} are needed"
        raise SpecError(f"{message}: give more data, or a larger training.validation", path="data")
    options = offered(donor.genome, spec.candidates)
    if all(names == [KEEP] for names in options.values()):
        raise SpecError("no candidate fits any layer of the model, or all give what is there", path="candidates")
    if run.begun is not None:
        check_start(spec, run.directory)
    by_formula = estimator(name for name in spec.costs if METRICS[name].batch_size is None)
    check_budget(Parts(donor.genome, options, spec.candidates, by_formula), spec.budget_of(by_formula(donor.genome)))
    singles = [assembled(donor.genome, {layer: name}, spec.candidates) for layer, names in options.items()
               for name in names if name != KEEP]  # fmt: skip
    tables = run_tables(
        batch_sizes(spec.costs),
        donor.genome,
        lambda: _drawing(singles, spec.seed),
        run.directory,
        device=spec.workers.device,
        say=lambda text: on_event(Event("message", data={"text": text})),
    )
    estimate = estimator(spec.costs, tables)
    budget = spec.budget_of(estimate(donor.genome))
    record = _recorded(spec, donor, budget)
    run.check(record, may_differ=MAY_DIFFER, data=account, start=whole)
    introduce(whole.genome, donor.genome, images, on_event, suits=lambda genome: genome, meant=True)
    parts = Parts(donor.genome, options, spec.candidates, estimate)
    check_budget(parts, budget)
    return Plan(run, on_event, record, task, unlabelled, images, donor, parts, budget, tables)


def _drawing(genomes: list[Any], seed: int) -> Any:
    rng = Random(seed)
    return lambda: rng.choice(genomes)


def _recorded(spec: ConversionSpec, donor: Donor, budget: Budget) -> dict[str, Any]:
    """The spec as in run.yaml: every default written out, the base being the model's genome, limits in their units."""
    base = donor.genome.model_dump(mode="json", exclude_defaults=True)
    return spec.model_dump(mode="json") | {"base": base, "data": absolute(spec.data), "budget": dict(budget.limits)}


def upgraded(spec: dict[str, Any]) -> dict[str, Any]:
    """A recorded spec with keys of later versions added, at their defaults."""
    read = ConversionSpec.parse(spec)
    return read.model_dump(mode="json") | {"base": spec["base"]}


def begun(plan: Plan) -> Plan:
    """Write all files that precede the first piece, and say whether a conversion can pay. The plan now has labels."""
    run, spec = plan.run, plan.run.spec
    for size, table in plan.tables.items():
        table.write(table_file(run.directory, size))
    keep_start(spec, run.directory, plan.images, plan.on_event)
    if plan.unlabelled:
        plan.say(f"the images have no labels: the model's own answers stand in, and accuracy is {MEANING}")
        labels = plan.task.labels
        if labels is None:
            with crew_of(plan) as crew:
                labels = label(crew, plan.images, run.directory)
        plan = replace(plan, task=replace(plan.task, labels=labels))
    accuracy = MEANING if plan.unlabelled else None
    run.begin(plan.record, seed=spec.seed, accuracy=accuracy)
    for text in outlook(plan.parts, plan.tables):
        plan.say(text)
    return plan


def crew_of(plan: Plan) -> Crew:
    run, spec = plan.run, plan.run.spec
    common = Common(plan.donor, spec.candidates, plan.task, spec.library, spec.scored, run.pool.device, run.pool.cpu)
    return Crew(common, run.pool, spec.limits, plan.say)
