"""Which searched parameters decide an outcome: permutation importance of a random forest, with its spread.

    importance(p) = R²(held-out trials) − R²(held-out trials, the values of p shuffled)         Breiman, 2001

The forest learns the outcome from the parameters on two thirds of the complete trials and is asked about the rest;
`SPLITS` splits give mean and standard deviation. R² on held-out trials says how far the figures can be believed: near 0
the forest knows nothing, and neither do they. They describe the trials of this search, which are no random sample.

fANOVA, as Optuna has it, answers a similar question, and takes tens of times as long for 1,000 trials.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from nas.report.forest import losses_apart

LEAST = 16  # complete trials below which a forest has nothing to learn from
MOST = 1000  # trials that it sees, drawn at random from more
SPLITS = 5


@dataclass(frozen=True)
class Importance:
    """parameters: from the most important on. mean, std: losses of R² over the splits. r2: on held-out trials, mean."""

    parameters: list[str]
    mean: list[float]
    std: list[float]
    r2: float
    trials: int


def importances(trials: pd.DataFrame, parameters: list[str], outcome: str = "accuracy") -> Importance | None:
    """Of `parameters` for a column of the complete trials; None with too few trials, or if nothing varies.

    >>> importances(run.trials, ["stages.0.split", "drop_path"]).parameters
    ['stages.0.split', 'drop_path']
    """
    complete = trials[trials["state"] == "complete"].dropna(subset=[outcome])
    varied = [name for name in parameters if complete[name].nunique(dropna=False) > 1]
    if len(complete) < LEAST or not varied or complete[outcome].nunique() < 2:
        return None
    seen = complete.sample(min(len(complete), MOST), random_state=0)
    x_NP = np.column_stack([_numbers(seen[name]) for name in varied])
    y_N = seen[outcome].to_numpy(float)
    losses_SP, r2_S = losses_apart(x_NP, y_N, SPLITS)
    order = np.argsort(-losses_SP.mean(0), kind="stable")
    return Importance(
        [varied[place] for place in order],
        losses_SP.mean(0)[order].tolist(),
        losses_SP.std(0)[order].tolist(),
        float(r2_S.mean()),
        len(seen),
    )


def _numbers(column: pd.Series) -> np.ndarray:
    """(trials,) the numbers of a column; of text, the rank of each value; missing values come below all."""
    numeric = pd.to_numeric(column, errors="coerce")
    if numeric.notna().sum() == column.notna().sum():
        return numeric.fillna(numeric.min() - 1).to_numpy(float)
    return pd.factorize(column.astype(str), sort=True)[0].astype(float)
