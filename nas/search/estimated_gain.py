"""The gain of a search over random search of the same length, as the model of the default sampler estimates it.

Each of `DRAWS` functions from the model's posterior (nas/search/surrogate.py) is taken as the truth: for the trials of
the search, and for as many genomes drawn at random within the budget (the base genome first, as `sampler: random` has
it). Neither side keeps the luck of single trainings. The interval is that of the draws, 95 %: it is about the model and
about random searches, not about other seeds of this search. With early stopping, the random search has as many full
trainings as the epochs of all trials make.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nas.engine import Job, Ledger, Outcome
from nas.metrics import Estimate, signs
from nas.search.budget import Budget
from nas.search.gain import Gain
from nas.search.pareto import hypervolume, reference_of
from nas.search.pool import Pool
from nas.search.samplers.cost_aware import drawn_points
from nas.search.space import SearchSpace
from nas.search.surrogate import Encoding, Posterior
from nas.seeds import derive

DRAWS = 200  # of the model, each with a random search of its own
GENOMES = 1000  # random ones from which these searches draw, in a space that has more
LEAST = 8  # complete trials, and genomes to draw, without which there is nothing to estimate from
MOST = 384  # trials that the model sees, the latest


def estimated(
    ledger: Ledger,
    space: SearchSpace,
    estimate: Estimate,
    budget: Budget,
    objectives: Sequence[str],
    *,
    epochs: int,
    seed: int,
) -> Gain | None:
    """None if too few trials are complete. epochs: of a full training.

    >>> estimated(ledger, space, estimator(), Budget(), ["accuracy", "macs"], epochs=30, seed=0)
    """
    own = [trial for trial in ledger.trials if "from" not in trial.job.note]
    ended = [(trial.job, trial.outcome) for trial in own if trial.outcome is not None]
    complete = [(job, outcome) for job, outcome in ended if outcome.state == "complete"]
    encoding = Encoding(space.parameters)
    pool = Pool(space, encoding, estimate, budget, size=GENOMES, seed=derive(seed, "gain"))
    base = pool.of(space.of_base() or {})
    others = [one for one in pool.candidates(0, {}) if one.excess <= 0 and (base is None or one.key != base.key)]
    if len(complete) < LEAST or len(others) < LEAST:
        return None
    count = max(1, round(sum(outcome.epochs or 0 for _, outcome in ended) / epochs))
    rows_ND = np.stack([encoding.row(job.parameters) for job, _ in complete])
    known = estimate(space.base)
    models = {
        column: Posterior(rows_ND[-MOST:], sign * _values(complete[-MOST:], name), np.zeros(len(rows_ND[-MOST:])))
        for column, (name, sign) in enumerate(zip(objectives, signs(objectives), strict=True))
        if name not in known
    }
    cells = {column: model.cells() for column, model in models.items()}
    rng = np.random.default_rng(derive(seed, "gain"))
    gains = []
    for _ in range(DRAWS):
        functions = {column: model.draw(rng, cells[column]) for column, model in models.items()}
        chosen = [*([base] if base else []), *(others[index] for index in rng.permutation(len(others)))][:count]
        random_NM = drawn_points([one.row_D for one in chosen], [one.costs for one in chosen], functions, objectives)
        search_NM = drawn_points(list(rows_ND), [outcome.costs for _, outcome in complete], functions, objectives)
        reference_M = reference_of(np.vstack([search_NM, random_NM]))
        gains.append(hypervolume(search_NM, reference_M) / hypervolume(random_NM, reference_M) - 1)
    low, middle, high = (float(value) for value in np.quantile(gains, [0.025, 0.5, 0.975]))
    return Gain(middle, low, high, "estimated", count)


def _values(trials: list[tuple[Job, Outcome]], name: str) -> np.ndarray:
    return np.array([outcome.value(name) for _, outcome in trials], float)
