"""Random search: independent draws, uniform over the values of each parameter (log-uniform with `log`)."""

from __future__ import annotations

from random import Random

from nas.search.samplers.base import SAMPLERS, Sampler
from nas.search.space import Assignment
from nas.seeds import derive


@SAMPLERS.add("random")
class RandomSampler(Sampler):
    """Each draw has its own seed."""

    def ask(self, draw: int) -> Assignment:
        return self.space.draw(Random(derive(self.seed, "suggest", draw)))
