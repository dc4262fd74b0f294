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
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import train_test_split

    seen = complete.sample(min(len(complete), MOST), random_state=0)
    x_NP = np.column_stack([_numbers(seen[name]) for name in varied])
    y_N = seen[outcome].to_numpy(float)
    losses, scores = [], []
    for seed in range(SPLITS):
        x_train, x_test, y_train, y_test = train_test_split(x_NP, y_N, test_size=1 / 3, random_state=seed)
        forest = RandomForestRegressor(n_estimators=32, min_samples_leaf=2, random_state=seed).fit(x_train, y_train)
        scores.append(forest.score(x_test, y_test))
        losses.append(permutation_importance(forest, x_test, y_test, n_repeats=3, random_state=seed).importances_mean)
    losses_SP = np.array(losses)
    order = np.argsort(-losses_SP.mean(0), kind="stable")
    return Importance(
        [varied[place] for place in order],
        losses_SP.mean(0)[order].tolist(),
        losses_SP.std(0)[order].tolist(),
        float(np.mean(scores)),
        len(seen),
    )


def _numbers(column: pd.Series) -> np.ndarray:
    """(trials,) the numbers of a column; of text, the rank of each value; missing values come below all."""
    numeric = pd.to_numeric(column, errors="coerce")
    if numeric.notna().sum() == column.notna().sum():
        return numeric.fillna(numeric.min() - 1).to_numpy(float)
    return pd.factorize(column.astype(str), sort=True)[0].astype(float)
