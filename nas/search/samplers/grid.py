"""Grid search: every assignment of a finite space once, in lexicographic order."""

from __future__ import annotations

from itertools import islice

from nas.errors import SpaceError
from nas.search.samplers.base import SAMPLERS, Sampler, SamplerOptions
from nas.search.space import Assignment, SearchSpace


@SAMPLERS.add("grid")
class GridSampler(Sampler):
    """Draw n is assignment n of the space."""

    ends = True

    def __init__(self, options: SamplerOptions, space: SearchSpace, objectives: list[str], *, seed: int):
        super().__init__(options, space, objectives, seed=seed)
        self._assignments = space.every()
        self._next = 0

    @classmethod
    def check(cls, space: SearchSpace) -> None:
        ranges = [parameter.path for parameter in space.parameters if parameter.values is None]
        if ranges:
            message = "grid tries every value, and this is a continuous range: give it a `step`"
            raise SpaceError(message, path=f"parameters.{ranges[0]}")

    def ask(self, draw: int) -> Assignment | None:
        skipped, self._next = draw - self._next, draw + 1
        return next(islice(self._assignments, skipped, None), None)
