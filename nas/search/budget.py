"""Limits on the costs of a candidate, and a check that some genome of the space is within them.

Budgets are hard: costs known by formula or from a table of timings are checked before a genome is trained. A violation
is relative: 0.25 means 25 % over the limit (for metrics where more is better, the limit is 25 % above the value found),
and at most 0 is within. With `table`, latency is that of another device (nas/search/target.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from random import Random
from typing import Any

from pydantic import ConfigDict, Field, PositiveFloat, field_validator, model_serializer, model_validator

from nas.errors import BudgetError, GenomeError, SpaceError, nearest
from nas.keys import Keys
from nas.metrics import METRICS, Costs, Estimate
from nas.search.space import Assignment, SearchSpace

PROBES = 300


class Budget(Keys):
    """The `budget:` section: a limit for each named metric, in the metric's unit.

    An upper limit where less is better, a lower limit where more is better; null means no limit. Unknown metrics are
    refused, and so are metrics known only after training.

    >>> Budget(macs=750_000, throughput=None).limits
    {'macs': 750000}
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, PositiveFloat]
    table: str | None = Field(
        None, description="timings of another device, a file of `nas latency`: `latency` is that of this device"
    )

    @model_validator(mode="before")
    @classmethod
    def _set(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        allowed = [name for name, metric in METRICS.items() if metric.budget]
        for name, limit in value.items():
            if isinstance(limit, bool):  # what is no field, Keys does not see
                raise SpaceError(f"expected a number, found {limit}", path=str(name))
            if name not in [*allowed, "table"]:
                what = "known only after a training, so no budget" if name in METRICS else "unknown key"
                raise SpaceError(f"{what}; {nearest(name, [*allowed, 'table'])}", path=str(name))
        return {name: limit for name, limit in value.items() if limit is not None}

    @field_validator("table")
    @classmethod
    def _absolute(cls, table: str | None) -> str | None:
        return os.path.abspath(table) if table is not None else None

    @model_serializer
    def _written(self) -> dict[str, Any]:
        return self.limits | ({"table": self.table} if self.table is not None else {})

    @property
    def limits(self) -> dict[str, float]:
        """The limits set; integers where the metric's values are integers."""
        return {n: int(v) if METRICS[n].whole and v == int(v) else v for n, v in self.__pydantic_extra__.items()}

    def excess(self, name: str, found: float) -> float:
        """By how much `found` misses the limit of a metric, relative to it; negative if within."""
        limit = self.__pydantic_extra__[name]
        return (found / limit if METRICS[name].direction == "min" else limit / max(found, 1e-9)) - 1

    def violations(self, costs: Costs) -> dict[str, float]:
        """The excess over each limit."""
        return {name: self.excess(name, costs[name]) for name in self.__pydantic_extra__}

    def refusal(self, costs: Costs) -> str | None:
        """The reason for refusing a genome, or None."""
        over = [name for name, excess in self.violations(costs).items() if excess > 0]
        return "; ".join(self.sentence(name, costs[name]) for name in over) or None

    def sentence(self, name: str, found: float) -> str:
        """By how much `found` misses the limit of a metric, in words."""
        metric, limit = METRICS[name], self.limits[name]
        side = "over the budget" if metric.direction == "min" else "below the least"
        return f"{name} {_number(found)} is {side} of {_number(limit)} by {100 * abs(found / limit - 1):.1f} %"


def check_feasible(space: SearchSpace, budget: Budget, estimate: Estimate, *, seed: int) -> None:
    """Raise BudgetError if no genome within the budget is found, saying which limit binds and by how much.

    It tries the base, random genomes, and a coordinate descent from the best of these.
    """
    best: tuple[float, Assignment] | None = None
    least: dict[str, float] = {}

    def tried(assignment: Assignment) -> bool:
        nonlocal best
        try:
            found = estimate(space.genome(assignment))
        except GenomeError:
            return False
        over = budget.violations(found)
        for name, excess in over.items():
            if name not in least or excess < budget.excess(name, least[name]):
                least[name] = found[name]
        worst = max(over.values(), default=0.0)
        if best is None or worst < best[0]:
            best = worst, assignment
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


def _explain(budget: Budget, least: dict[str, float]) -> str:
    """least: the best value found for each limit."""
    if not least:
        return "no genome of the space is valid at all"
    binding = [name for name, found in least.items() if budget.excess(name, found) > 0]
    if binding:
        return "nothing in the space can meet it: at best, " + "; ".join(budget.sentence(n, least[n]) for n in binding)
    each = ", ".join(f"{name} {_number(value)}" for name, value in least.items())
    return f"nothing in the space meets all of it at once, though each can be met alone (at best {each})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
