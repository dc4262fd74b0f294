"""Bayesian optimisation with a Gaussian process: Matérn 5/2 kernel, log expected (hypervolume) improvement.

Optuna's implementation. A suggestion takes a second or more: for searches with few, expensive trials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from nas.search.samplers.base import SAMPLERS, SamplerOptions
from nas.search.samplers.optuna_base import OptunaSampler

if TYPE_CHECKING:
    import optuna


@SAMPLERS.add("gp")
class GPSampler(OptunaSampler):
    class Options(SamplerOptions):
        startup: int = Field(10, ge=1, le=1_000_000, description="random trials before outcomes are looked at")

    options: Options

    def optuna_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed, n_startup_trials=self.options.startup, warn_independent_sampling=False)
