"""What a candidate may cost, and the search for at least one that does not cost more.

Budgets are hard: what a formula or the latency table knows about a genome is asked before a worker is. A violation is
relative: 0.25 is a quarter over the budget (for throughput, a quarter under it), and at most 0 is within.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from random import Random

from pydantic import BaseModel, ConfigDict, Field

from nas.errors import BudgetError, GenomeError
from nas.genome import Genome
from nas.search.space import Assignment, SearchSpace

PROBES = 300


@dataclass(frozen=True)
class Estimate:
    """What is known of a genome without training it. `throughput` in images per second, None if nobody asks for it."""

    macs: int
    params: int
    throughput: float | None = None


class Budget(BaseModel):
    """The `budget:` section. macs (of one image) and params: at most; throughput (images per second): at least."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    macs: int | None = Field(None, gt=0)
    params: int | None = Field(None, gt=0)
    throughput: float | None = Field(None, gt=0)

    def violations(self, estimate: Estimate) -> dict[str, float]:
        """Relative excess per budget that was set; negative with room to spare."""
        found = asdict(estimate)
        over = {name: found[name] / limit - 1 for name, limit in self._limits() if name != "throughput"}
        if self.throughput is not None:
            over["throughput"] = self.throughput / max(found["throughput"], 1e-9) - 1
        return over

    def refusal(self, estimate: Estimate) -> str | None:
        """Why a genome is refused, or None if it is not."""
        over = {name: excess for name, excess in self.violations(estimate).items() if excess > 0}
        return "; ".join(self.sentence(name, asdict(estimate)[name]) for name in over) or None

    def sentence(self, name: str, found: float) -> str:
        """By how much `found` misses the budget called `name`."""
        limit, side = getattr(self, name), "below the least" if name == "throughput" else "over the budget"
        return f"{name} {_number(found)} is {side} of {_number(limit)} by {100 * abs(found / limit - 1):.1f} %"

    def _limits(self) -> list[tuple[str, float]]:
        return [(name, limit) for name, limit in self.model_dump().items() if limit is not None]


def check_feasible(space: SearchSpace, budget: Budget, estimate: Callable[[Genome], Estimate], *, seed: int) -> None:
    """Raise BudgetError if no genome of the space is found within the budget, saying which one binds and by how much.

    Tried are the base, random genomes, and a descent from the nearest of them, one parameter at a time.
    """
    best: tuple[float, Assignment, Estimate] | None = None
    least: dict[str, Estimate] = {}

    def tried(assignment: Assignment) -> bool:
        nonlocal best
        try:
            found = estimate(space.genome(assignment))
        except GenomeError:
            return False
        over = budget.violations(found)
        for name, excess in over.items():
            if name not in least or excess < budget.violations(least[name])[name]:
                least[name] = found
        worst = max(over.values(), default=0.0)
        if best is None or worst < best[0]:
            best = worst, assignment, found
        return worst <= 0

    rng = Random(seed)
    if tried({}) or any(tried(space.draw(rng)) for _ in range(PROBES)):
        return
    while best is not None:
        start = best
        if any(tried(neighbour) for neighbour in _neighbours(space, best[1])):
            return
        if best is start:
            break
    raise BudgetError(_explain(budget, least), path="budget")


def _neighbours(space: SearchSpace, assignment: Assignment) -> Iterator[Assignment]:
    """Assignments that differ in one parameter (and in those that depend on it)."""
    for parameter in space.parameters:
        values = parameter.values if parameter.values is not None else (parameter.low, parameter.high)
        for value in values:
            wanted = assignment | {parameter.path: value}
            yield space.assign(lambda p, wanted=wanted: wanted.get(p.path, p.at(0)))  # type: ignore[misc]


def _explain(budget: Budget, least: dict[str, Estimate]) -> str:
    """least: for each budget, what comes nearest to it."""
    if not least:
        return "no genome of the space is valid at all"
    best = {name: asdict(found)[name] for name, found in least.items()}
    binding = [name for name, found in least.items() if budget.violations(found)[name] > 0]
    if binding:
        return "nothing in the space can meet it: at best, " + "; ".join(budget.sentence(n, best[n]) for n in binding)
    each = ", ".join(f"{name} {_number(value)}" for name, value in best.items())
    return f"nothing in the space meets all of it at once, though each can be met alone (at best {each})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
