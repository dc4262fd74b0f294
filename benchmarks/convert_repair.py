"""Conversion: does the sum of single scores say which assemblies are good after their repair? On digits, mixed_digits.

60 random assemblies of the default candidates, each repaired for four epochs with the default recipe. Kendall's τ of
the sum of single KLs, of the KL of the assembled model before repair, and of the number of replaced layers, with the KL
after it; 95 % bootstrap intervals over assemblies. Two parents of 30 epochs.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.convert_parts import Library, parents, row
from benchmarks.machine import Setting
from nas.convert.plan import random_assemblies, valid
from nas.search.budget import Budget

ASSEMBLIES, EPOCHS = 60, 4
DRAWS = 1000  # of the bootstrap
TAU_BAR, GAIN_BAR = 0.6, 0.2


def run(setting: Setting) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return [_ranks(Library(parent), seed) for seed, parent in enumerate(parents(Path(folder), 2))]


def _ranks(library: Library, seed: int) -> dict[str, Any]:
    drawn = random_assemblies(library.parts, ASSEMBLIES, 0)
    drawn = [each for each in drawn if valid(library.parts, each, Budget())]
    single, before = library.singles(), [score.kl for score in library.scores(drawn)]
    found = [library.repaired(each, seed=number, epochs=EPOCHS) for number, each in enumerate(drawn)]
    after = np.array([each.kl for each in found])
    said = {
        "Σ KL of single replacements": np.array([sum(single[item].kl for item in each.items()) for each in drawn]),
        "the assembly's KL before repair": np.array(before),
        "number of replaced layers": np.array([float(len(each)) for each in drawn]),
    }
    draws = np.random.default_rng(0).integers(len(drawn), size=(DRAWS, len(drawn)))
    taus = {name: _tau(values, after) for name, values in said.items()}
    drawn_taus = {name: [_tau(values[draw], after[draw]) for draw in draws] for name, values in said.items()}
    at = f"digits, seed {seed}"
    names = list(said)
    rows = [
        row(f"τ of {name} with the KL after repair", at, taus[name], _middle(drawn_taus[name]), bar, upper=False)
        for name, bar in zip(names, (TAU_BAR, None, None), strict=True)
    ]
    more = taus[names[0]] - taus[names[2]]
    gains = [one - other for one, other in zip(drawn_taus[names[0]], drawn_taus[names[2]], strict=True)]
    rows.append(row("that of Σ KL less that of the number of layers", at, more, _middle(gains), GAIN_BAR, upper=False))
    accuracy = [100 * each.accuracy for each in found]
    return {"at": at, "assemblies": len(drawn), "accuracy": [min(accuracy), max(accuracy)], "rows": rows}


def _tau(one: np.ndarray, other: np.ndarray) -> float:
    return float(stats.kendalltau(one, other).statistic)


def _middle(values: list[float]) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
