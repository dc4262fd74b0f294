"""What a conversion can save, by formula and by table, before anything is trained.

A candidate changes more than its own layer: attention that hands its scores on runs another kernel. Times of candidates
are therefore differences of whole models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import mean

from nas.convert.candidates import KEEP, assembled
from nas.convert.choice import best
from nas.convert.plan import Parts, problem
from nas.convert.score import Score
from nas.errors import BudgetError, GenomeError
from nas.genome import Genome
from nas.metrics import estimator
from nas.profiling import LatencyTable
from nas.search.budget import Budget

WORTH = 0.10  # share of MACs or of time below which a conversion is said not to pay
LARGER = (2, 4)  # times the image size that is looked at


def check_budget(parts: Parts, budget: Budget) -> None:
    """Raise BudgetError, saying what is cheapest, if no assembly is within the budget, or none but the model itself."""
    nothing = Score(0.0, 1.0, 0.0, 0.0)
    two = best(problem(parts, dict.fromkeys(parts.replacements(), nothing), budget), 2)
    if all(set(choice.names) == {KEEP} for choice in two):
        message = "nothing but the model itself is within the budget: every candidate makes it dearer"
        raise BudgetError(f"{message}; allowed: a larger budget, or other candidates", path="budget")


def outlook(parts: Parts, tables: Mapping[int, LatencyTable]) -> list[str]:
    """Sentences: what each candidate saves of a layer's time, and all together of the model's MACs and time.

    If that is little, what larger images would save. tables: by batch size.
    """
    said = []
    for size, table in tables.items():
        batch = "one image" if size == 1 else f"a batch of {size}"
        said.append(f"{batch} takes {1000 * table.seconds_of(parts.parent):.2f} ms; by candidate, for each layer:")
        said += [f"  {line}" for line in _by_stage(parts, table)]
    tokens = max(stage.tokens for stage in parts.parent.layout)
    macs = _saving(parts, _macs)
    shares = {size: _saving(parts, table.seconds_of) for size, table in tables.items()}
    times = "".join(f", {100 * share:.1f} % of the time (batches of {size})" for size, share in shares.items())
    said.append(f"at {tokens} tokens, candidates save at most {100 * macs:.1f} % of the model's MACs{times}")
    if max([macs, *shares.values()]) < WORTH and (larger := _at_larger_sizes(parts)):
        said.append(f"that hardly pays; of MACs they would save {', '.join(larger)}")
    return said


def _by_stage(parts: Parts, table: LatencyTable) -> list[str]:
    """A line for each stage: the mean change of the model's milliseconds when one of its layers is replaced."""
    own = table.seconds_of(parts.parent)
    lines = []
    for stage in parts.parent.layout:
        names = {layer.name for layer in stage.layers}
        saved: dict[str, list[float]] = {}
        for layer, candidate in parts.replacements():
            if layer in names:
                genome = assembled(parts.parent, {layer: candidate}, parts.candidates)
                saved.setdefault(candidate, []).append(1000 * (table.seconds_of(genome) - own))
        layer_ms = 1000 * mean(table.seconds_of_part(parts.parent, name) for name in names)
        changes = ", ".join(f"{name} {mean(values):+.3f} ms" for name, values in saved.items())
        lines.append(f"{stage.name} ({stage.tokens} tokens, {layer_ms:.3f} ms a layer): {changes or 'no candidate'}")
    return lines


def _saving(parts: Parts, value: Callable[[Genome], float]) -> float:
    """The share of the parent's value that the cheapest candidates of all layers save together."""
    own = value(parts.parent)
    saved = 0.0
    for layer, names in parts.options.items():
        genomes = [assembled(parts.parent, {layer: name}, parts.candidates) for name in names if name != KEEP]
        saved += max([0.0, *(own - value(genome) for genome in genomes)])
    return saved / own


def _macs(genome: Genome) -> float:
    """Of one image's inference, by formula."""
    return estimator()(genome)["macs"]


def _at_larger_sizes(parts: Parts) -> list[str]:
    found = []
    for times in LARGER:
        size = times * parts.parent.image.size
        try:
            larger = replace(parts, parent=parts.parent.edit({"image.size": size}))
        except GenomeError:
            continue
        found.append(f"at {size} pixels {100 * _saving(larger, _macs):.1f} %")
    return found
