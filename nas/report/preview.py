"""What a search space holds, in seconds and without training: its size, what the budget leaves, and sample genomes."""

from __future__ import annotations

from itertools import islice
from random import Random

from rich.console import Group, RenderableType
from rich.table import Table

from nas.cost import cost
from nas.errors import GenomeError
from nas.genome import Genome
from nas.report.describe import describe
from nas.report.tables import magnitude
from nas.search import Space
from nas.search.budget import Estimate
from nas.search.domain import Domain
from nas.search.run import resolve
from nas.seeds import derive

COUNTED = 100_000  # larger spaces are not counted to the end
DRAWS = 500
SAMPLES = 10


def preview(space: Space) -> RenderableType:
    """The base genome and random ones with their cost, and the shares that are valid and within the budget.

    A throughput budget is left out: it would have to be timed. Raises what `nas.search.search` raises for a bad space.
    """
    domain, *_ = resolve(space)
    by_formula = space.budget.model_copy(update={"throughput": None})
    rng = Random(derive(space.seed, "preview"))
    valid: list[Genome] = []
    for _ in range(DRAWS):
        try:
            valid.append(domain.genome(domain.draw(rng)))
        except GenomeError:  # values that are right one by one and do not go together
            continue
    within = [genome for genome in valid if by_formula.refusal(_estimate(genome)) is None]
    size = f"{_size(domain)}, {len(domain.parameters)} parameters, {space.trials} trials"
    shares = (
        f"of {DRAWS} random ones, {100 * len(valid) / DRAWS:.0f} % make a genome"
        f" and {100 * len(within) / DRAWS:.0f} % are within the budget ({_budget(space)})"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("", "MACs", "params", "layers by stage"):
        table.add_column(heading, justify="right" if heading in ("MACs", "params") else "left")
    for name, genome in [("base", domain.base), *(("random", genome) for genome in within[:SAMPLES])]:
        found = cost(genome)
        table.add_row(name, magnitude(found.macs), magnitude(found.params), describe(genome))
    return Group(f"{space.name} on {space.data}: {size}", shares, "", table)


def _size(domain: Domain) -> str:
    if not domain.finite:
        return "infinitely many combinations (a range is continuous)"
    count = sum(1 for _ in islice(domain.every(), COUNTED + 1))
    return f"{count:,} combinations" if count <= COUNTED else f"more than {COUNTED:,} combinations"


def _budget(space: Space) -> str:
    limits = {"macs": space.budget.macs, "params": space.budget.params}
    parts = [f"{name} at most {magnitude(limit)}" for name, limit in limits.items() if limit is not None]
    parts += ["throughput not timed here"] if space.budget.throughput is not None else []
    return ", ".join(parts) or "none"


def _estimate(genome: Genome) -> Estimate:
    found = cost(genome)
    return Estimate(found.macs, found.params)
