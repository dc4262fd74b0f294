"""Quasi-random search: a scrambled Sobol sequence with one dimension per parameter (Owen, 1998).

It covers the space more evenly than independent draws. Draw n is point n of the sequence.
"""

from __future__ import annotations

import warnings

from nas.search.samplers.base import SAMPLERS, Sampler, SamplerOptions
from nas.search.space import Assignment, SearchSpace
from nas.seeds import derive


@SAMPLERS.add("qmc")
class QMCSampler(Sampler):
    """An inactive conditional parameter keeps its dimension."""

    def __init__(self, options: SamplerOptions, space: SearchSpace, objectives: list[str], *, seed: int):
        from scipy.stats.qmc import Sobol

        super().__init__(options, space, objectives, seed=seed)
        self._sobol = Sobol(len(space.parameters), rng=derive(seed, "qmc"))

    def ask(self, draw: int) -> Assignment:
        if skipped := draw - self._sobol.num_generated:
            self._sobol.fast_forward(skipped)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Sobol prefers powers of two; a search takes one point at a time
            point = self._sobol.random(1)[0]
        numbers = dict(zip((parameter.path for parameter in self.space.parameters), point, strict=True))
        return self.space.assign(lambda parameter: parameter.at(numbers[parameter.path]))
