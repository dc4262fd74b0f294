"""The integer programme behind `nas.convert.choice`: one candidate a layer at the least total, within hard limits.

    x_u ∈ {0, 1}    candidate u is chosen;  Σ x_u = 1 over the candidates u of a layer
    y_uv ∈ [0, 1]   u and v are both chosen, for the pairs with a correction of the score
    minimise        Σ s_u x_u + Σ w_uv y_uv    under    Σ c_u x_u ≤ limit, for every budget

Candidates of one layer exclude each other, so the rows of u's partners in another layer can be summed. That is tighter
than a row for each pair, and y = x_u x_v holds for corrections of both signs:

    x_u + Σ_v x_v − 1  ≤  Σ_v y_uv  ≤  x_u          and for forbidden pairs:   x_u + Σ_v x_v ≤ 1

HiGHS solves it in floating point, with a tolerance of 1e-6 a row. Limits are nevertheless exact: numbers are taken as
the decimals that they print as (0.1 + 0.2 meets a limit of 0.3) and summed as fractions. A solution over a limit by
less than the tolerance is cut off, and the programme is solved again. Nothing that meets the limits is lost by that.

Legend: K candidates, P pairs with a correction; the columns of the programme are x, then y.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

Chosen = tuple[int, ...]  # the columns of the chosen candidates, one a layer
Pair = tuple[int, int]
SPREAD = 1e4  # largest coefficient of what is minimised; HiGHS stops 1e-6 above the minimum, 1e-10 of it


class Row(NamedTuple):
    """low ≤ Σ coefficient × column ≤ high."""

    coefficients: Mapping[int, float]
    low: float
    high: float


def exact(number: float) -> Fraction:
    """The decimal that a finite number prints as.

    >>> exact(0.1) + exact(0.2) == exact(0.3)
    True
    """
    return Fraction(str(number))


class Total:
    """A sum over the chosen candidates, and over the pairs chosen together: exact, and as floats for HiGHS.

    `scaled` are the coefficients of all columns, less the smallest of each layer, in units of the largest of them. So
    costs of 1e9 with small differences keep their differences. `grain` divides every difference of two sums; it is 0 if
    all sums are equal.
    """

    def __init__(
        self, terms: Sequence[float], layers: Sequence[Sequence[int]], pairs: Mapping[Pair, Fraction], fixed: float
    ):
        self.terms = [exact(term) for term in terms]
        self.pairs = pairs
        self.fixed = exact(fixed)
        self.least = [min(self.terms[column] for column in layer) for layer in layers]
        above = [Fraction(0)] * len(self.terms)
        for layer, least in zip(layers, self.least, strict=True):
            for column in layer:
                above[column] = self.terms[column] - least
        self.above = above
        steps = [*above, *self.pairs.values()]
        denominator = math.lcm(*(step.denominator for step in steps))
        self.grain = Fraction(math.gcd(*(int(step * denominator) for step in steps)), denominator)
        self.unit = max(map(abs, steps)) or Fraction(1)
        self.scaled = np.array([float(term / self.unit) for term in steps])

    def of(self, chosen: Chosen) -> Fraction:
        """The sum for one assembly."""
        pairs = sum((term for (u, v), term in self.pairs.items() if u in chosen and v in chosen), Fraction(0))
        return self.fixed + sum((self.terms[column] for column in chosen), pairs)

    def row(self, limit: Fraction) -> Row:
        """The sum is at most `limit`; as no sum lies between, the row ends half a grain above the largest allowed."""
        room = limit - self.fixed - sum(self.least)
        high = (room // self.grain + Fraction(1, 2)) * self.grain if self.grain else room
        return Row(dict(enumerate(self.scaled.tolist())), -np.inf, float(high / self.unit))


Limit = tuple[Total, Fraction]  # the total is at most this


class Programme:
    """The constraints that every assembly has to meet, and its exact minimisation.

    `layers` are the columns of each layer's candidates, `forbidden` the pairs of columns that exclude each other,
    `corrected` those with a column y.
    """

    def __init__(self, layers: Sequence[Sequence[int]], forbidden: Iterable[Pair], corrected: Sequence[Pair]):
        self.layers = layers
        self.candidates = sum(map(len, layers))
        self.columns = self.candidates + len(corrected)
        layer_of = {column: index for index, layer in enumerate(layers) for column in layer}
        rows = [Row(dict.fromkeys(layer, 1.0), 1, 1) for layer in layers]

        excluded: defaultdict[tuple[int, int], dict[int, float]] = defaultdict(dict)
        for u, v in forbidden:
            excluded[u, layer_of[v]] |= {u: 1.0, v: 1.0}
        rows += [Row(coefficients, -np.inf, 1) for coefficients in excluded.values()]

        partners: defaultdict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        for y, (u, v) in enumerate(corrected, start=self.candidates):
            partners[u, layer_of[v]][v] = y
            partners[v, layer_of[u]][u] = y
        for (u, _), both in partners.items():
            rows.append(Row({u: -1.0} | dict.fromkeys(both.values(), 1.0), -np.inf, 0))
            rows.append(Row({u: -1.0} | dict.fromkeys(both, -1.0) | dict.fromkeys(both.values(), 1.0), -1, np.inf))
        self.structure = rows

    def minimise(self, goal: Total, limits: Sequence[Limit], rows: Sequence[Row] = ()) -> Chosen | None:
        """The assembly with the least `goal` within the limits and further rows; None if there is none."""
        if any(total.fixed + sum(total.least) > limit for total, limit in limits):
            return None
        rows = [*rows, *(total.row(limit) for total, limit in limits)]
        while (chosen := self._solved(goal, rows)) is not None:
            over = [(total, limit) for total, limit in limits if total.of(chosen) > limit]
            if not over:
                break
            rows += [self._cover(chosen, total, limit) for total, limit in over]
        return chosen

    def other_than(self, chosen: Chosen) -> Row:
        """Excludes one assembly (a no-good cut)."""
        return Row(dict.fromkeys(chosen, 1.0), -np.inf, len(chosen) - 1)

    def _cover(self, chosen: Chosen, total: Total, limit: Fraction) -> Row:
        """Excludes an assembly over a limit, and all that are over it for the same reason (a lifted cover cut).

        The layers that cost most alone exceed the limit, whatever the others cost. At least one of them has to choose
        something cheaper.
        """
        spare = limit - total.fixed - sum(total.least)
        coefficients: dict[int, float] = {}
        members = 0
        for index in sorted(range(len(chosen)), key=lambda index: -total.above[chosen[index]]):
            coefficients |= {c: 1.0 for c in self.layers[index] if total.above[c] >= total.above[chosen[index]]}
            members += 1
            spare -= total.above[chosen[index]]
            if spare < 0:
                break
        return Row(coefficients, -np.inf, members - 1)

    def _solved(self, goal: Total, rows: Sequence[Row]) -> Chosen | None:
        from scipy.optimize import Bounds, LinearConstraint, milp  # here: 90 MB that a search can do without
        from scipy.sparse import csr_array

        costs = np.zeros(self.columns)
        costs[: len(goal.scaled)] = SPREAD * goal.scaled
        rows = [*self.structure, *rows]
        entries = [(i, column, value) for i, row in enumerate(rows) for column, value in row.coefficients.items()]
        at, columns, values = zip(*entries, strict=True)
        matrix = csr_array((values, (at, columns)), shape=(len(rows), self.columns), dtype=float)
        constraint = LinearConstraint(matrix, [row.low for row in rows], [row.high for row in rows])
        integer = np.arange(self.columns) < self.candidates
        result = milp(
            costs, integrality=integer, bounds=Bounds(0, 1), constraints=constraint, options={"mip_rel_gap": 0}
        )
        if result.status == 2:
            return None
        if result.status != 0:
            raise RuntimeError(f"HiGHS: {result.message}")
        return tuple(max(layer, key=lambda column: result.x[column]) for layer in self.layers)
