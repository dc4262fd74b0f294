"""qLogNEHVI of BoTorch as a sampler: an outsider of the table, no part of the product.

Ament et al., "Unexpected improvements to expected improvement for Bayesian optimization", NeurIPS 2023. Both objectives
are modelled, each by a Gaussian process with BoTorch's defaults on one-hot choices and ranges in [0, 1]; the suggestion
is the untried genome of the pool with the best acquisition value, given those that are running. The same pool as
`cost_aware` (nas/search/pool.py), the same ten random trials first.

    pip install botorch        without it, the rows are left out
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from random import Random

import numpy as np
import torch

from nas.engine import Outcome
from nas.metrics import Estimate, signs
from nas.search.budget import Budget
from nas.search.parameter import label
from nas.search.pareto import reference_of
from nas.search.pool import Pool, key_of
from nas.search.samplers import SAMPLERS
from nas.search.samplers.base import Sampler, SamplerOptions
from nas.search.space import Assignment, SearchSpace
from nas.search.surrogate import Encoding, place
from nas.seeds import derive

NAME = "qlognehvi"
STARTUP = 10
BATCH = 256  # candidates valued at once


class Outsider(Sampler):
    class Options(SamplerOptions):
        pass

    adaptive = True

    def __init__(self, options: SamplerOptions, space: SearchSpace, objectives: list[str], *, seed: int):
        super().__init__(options, space, objectives, seed=seed)
        self._assignments: dict[int, Assignment] = {}
        self._values: dict[int, np.ndarray] = {}
        self._passed: set[str] = set()

    def prepare(self, estimate: Estimate, budget: Budget) -> None:
        seed = derive(self.seed, "pool")
        self._pool = Pool(self.space, Encoding(self.space.parameters), estimate, budget, size=2000, seed=seed)

    def accept(self, number: int, assignment: Assignment, draw: int, margin: float) -> None:
        self._assignments[number] = assignment
        self._passed.clear()

    def tell(self, number: int, outcome: Outcome) -> None:
        found = np.array([outcome.value(name) for name in self.objectives], float)
        self._values[number] = -signs(self.objectives) * found  # BoTorch maximises

    def ask(self, draw: int) -> Assignment:
        chosen = self._best(draw) if len(self._assignments) >= STARTUP else None
        if chosen is None:
            chosen = self.space.draw(Random(derive(self.seed, "suggest", draw)))
        self._passed.add(key_of(chosen))
        return chosen

    def _best(self, draw: int) -> Assignment | None:
        tried = {key_of(one) for one in self._assignments.values()} | self._passed
        untried = [one for one in self._pool.candidates(draw, dict(self._assignments)) if one.key not in tried]
        if not untried:
            return None
        torch.manual_seed(derive(self.seed, "suggest", draw))
        known = list(self._values)
        rows_ND = self._rows([self._assignments[number] for number in known])
        values_NM = torch.tensor(np.stack([self._values[number] for number in known]))
        waiting = [one for number, one in self._assignments.items() if number not in self._values]
        worth_C = acquisition(rows_ND, values_NM, self._rows(waiting) if waiting else None)(
            self._rows([one.assignment for one in untried])
        )
        return untried[int(worth_C.argmax())].assignment

    def _rows(self, assignments: list[Assignment]) -> torch.Tensor:
        return torch.tensor([self._row(one) for one in assignments], dtype=torch.double)

    def _row(self, assignment: Assignment) -> list[float]:
        row: list[float] = []
        for parameter in self.space.parameters:
            value = assignment.get(parameter.path)
            active = parameter.path in assignment
            if parameter.numeric:
                row.append(place(parameter, value) if active and parameter.low < parameter.high else 0.0)
            else:
                row += [float(active and label(value) == label(each)) for each in parameter.values or ()]
        return row


def install() -> None:
    """Known to this process as a sampler from here on."""
    if NAME not in SAMPLERS:
        SAMPLERS.add(NAME)(Outsider)


def acquisition(
    rows_ND: torch.Tensor, values_NM: torch.Tensor, waiting_PD: torch.Tensor | None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function of (C, D) rows: qLogNEHVI of each, (C,)."""
    from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import ModelListGP, SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.sampling import SobolQMCNormalSampler
    from gpytorch.mlls import SumMarginalLogLikelihood

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        columns = [values_NM[:, [column]] for column in range(values_NM.shape[1])]
        model = ModelListGP(*(SingleTaskGP(rows_ND, one, outcome_transform=Standardize(1)) for one in columns))
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        value = qLogNoisyExpectedHypervolumeImprovement(
            model, ref_point=(-reference_of(-values_NM.numpy())).tolist(), X_baseline=rows_ND, prune_baseline=True,
            sampler=SobolQMCNormalSampler(torch.Size([128])), X_pending=waiting_PD,
        )  # fmt: skip

    def worth(rows_CD: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([value(part.unsqueeze(1)) for part in rows_CD.split(BATCH)])

    return worth
