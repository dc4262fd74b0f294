"""Tree-structured Parzen estimator (Bergstra et al., NeurIPS 2011; several objectives: Ozaki et al., GECCO 2020).

Two densities are fitted to the trials so far: l of the better ones, g of the others. The suggestion maximises l/g among
candidates drawn from l. Optuna's implementation, with its defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from nas.search.samplers.base import SAMPLERS, SamplerOptions
from nas.search.samplers.optuna_base import OptunaSampler

if TYPE_CHECKING:
    import optuna


@SAMPLERS.add("tpe")
class TPESampler(OptunaSampler):
    class Options(SamplerOptions):
        startup: int = Field(10, ge=1, le=1_000_000, description="random trials before outcomes are looked at")

    options: Options

    def optuna_sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, n_startup_trials=self.options.startup)
