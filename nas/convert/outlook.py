"""What a conversion can save, by formula and by table, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from nas.convert.candidates import KEEP, assembled
from nas.convert.choice import choose
from nas.convert.plan import Parts, problem
from nas.convert.score import Score
from nas.errors import GenomeError
from nas.genome import Genome
from nas.metrics import estimator
from nas.profiling import LatencyTable
from nas.search.budget import Budget

WORTH = 0.10  # share of MACs or of time below which a conversion is said not to pay
LARGER = (2, 4)  # times the image size that is looked at


def check_budget(parts: Parts, budget: Budget) -> None:
    """Raise BudgetError, saying what is cheapest, if no assembly is within the budget."""
    nothing = Score(0.0, 1.0, 0.0, 0.0)
    choose(problem(parts, dict.fromkeys(parts.replacements(), nothing), budget))


def outlook(parts: Parts, tables: Mapping[int, LatencyTable]) -> list[str]:
    """Sentences: the most that can be saved of MACs and of time; if that is little, what larger images would save."""
    tokens = max(stage.tokens for stage in parts.parent.layout)
    saved = _saving(parts, macs)
    text = f"at {tokens} tokens, candidates save at most {100 * saved:.1f} % of the model's MACs"
    for size, table in tables.items():
        whole = table.seconds_of(parts.parent)
        share = _saving(parts, table.seconds_of)
        text += f", and {100 * share:.1f} % of {1000 * whole:.1f} ms (batches of {size})"
    larger = _at_larger_sizes(parts) if saved < WORTH else []
    return [text, *([f"that hardly pays; with {', '.join(larger)}"] if larger else [])]


def _saving(parts: Parts, value: Callable[[Genome], float]) -> float:
    """The share of the parent's value that the cheapest candidates of all layers save together."""
    own = value(parts.parent)
    saved = 0.0
    for layer, names in parts.options.items():
        genomes = [assembled(parts.parent, {layer: name}, parts.candidates) for name in names if name != KEEP]
        saved += max([0.0, *(own - value(genome) for genome in genomes)])
    return saved / own


def macs(genome: Genome) -> float:
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
        found.append(f"images of {size} pixels {100 * _saving(larger, macs):.1f} %")
    return found
