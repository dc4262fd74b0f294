"""Permutation importances of a random forest, computed in a process of their own.

    loss of p = R²(held-out rows) − R²(held-out rows, the values of p shuffled)                 Breiman, 2001

The process is for memory: scikit-learn and SciPy take 90 MB, which the driver of a search, or a notebook, would keep.
It reads and writes files, since anything may print at the start of a Python of the user's.

Legend: N rows, P parameters, S splits.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np


def losses_apart(x_NP: np.ndarray, y_N: np.ndarray, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """What `losses` gives, from a new process; from this one where none can be started, or where it does not answer.

    >>> losses_SP, r2_S = losses_apart(x_NP, y_N, splits=5)
    """
    try:
        with TemporaryDirectory(prefix="nas-") as folder:
            rows, answer = Path(folder) / "rows.npy", Path(folder) / "answer.npy"
            np.save(rows, np.column_stack([x_NP, y_N]))
            command = [sys.executable, "-m", __name__, str(rows), str(answer), str(splits)]
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sys.path))}
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, env=environment)
            found = np.load(answer)
    except (OSError, ValueError, TypeError, subprocess.CalledProcessError):  # an embedded Python has no program
        return losses(x_NP, y_N, splits)
    return found[:, :-1], found[:, -1]


def losses(x_NP: np.ndarray, y_N: np.ndarray, splits: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, P) losses of R², and (S,) R², each on the third of the rows that the forest of a split has not seen."""
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import train_test_split

    found, scores = [], []
    for seed in range(splits):
        x_train, x_test, y_train, y_test = train_test_split(x_NP, y_N, test_size=1 / 3, random_state=seed)
        forest = RandomForestRegressor(n_estimators=32, min_samples_leaf=2, random_state=seed).fit(x_train, y_train)
        scores.append(forest.score(x_test, y_test))
        found.append(permutation_importance(forest, x_test, y_test, n_repeats=3, random_state=seed).importances_mean)
    return np.array(found), np.array(scores)


def _main(rows: str, answer: str, splits: str) -> None:
    """rows: the outcome is in the last column. answer: a row for each split, with R² in the last column."""
    table = np.load(rows)
    losses_SP, r2_S = losses(table[:, :-1], table[:, -1], int(splits))
    np.save(answer, np.column_stack([losses_SP, r2_S]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
