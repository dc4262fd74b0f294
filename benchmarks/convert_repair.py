"""Conversion: what repair leaves, what it needs, and what the parts of a start bring. On digits, mixed_digits.

- τ with the KL after repair: 60 random assemblies of the default candidates, each repaired for four epochs with the
  default recipe. Kendall's τ of the sum of single KLs, of the KL of the assembled model before repair, and of the
  number of replaced layers, with the KL after it; 95 % bootstrap intervals over assemblies. Two parents.
- recipes: the chosen assemblies along the front (six points, without the mildest two, which need no repair), repaired
  with other rates, durations and images; three parents; KL and change in accuracy, mean and 95 % t interval over
  parents.
- starts: KL of single replacements, mean over the layers that can: inherited weights alone, with centred keys, with the
  closed form, with one, two and four rounds of the library; three parents.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.convert_parts import Library, Parent, trained_parent
from benchmarks.machine import Setting
from nas.convert.candidates import DEFAULT, Candidate
from nas.convert.library import Distillation
from nas.convert.plan import chosen, problem, random_assemblies
from nas.data import load
from nas.genome import load_genome
from nas.search.budget import Budget
from nas.train import Training

ASSEMBLIES, EPOCHS = 60, 4
DRAWS = 1000  # of the bootstrap
TAU_BAR, GAIN_BAR = 0.6, 0.2
SEEDS = (0, 1, 2)
RECIPES: dict[str, dict[str, Any]] = {
    "default (3 epochs, lr 0.002, inherited weights at 0.1)": {},
    "1 epoch": {"epochs": 1},
    "10 epochs": {"epochs": 10},
    "inherited weights frozen": {"inherited_lr": 0.0},
    "inherited weights at 0.3": {"inherited_lr": 0.3},
    "all weights at 1": {"inherited_lr": 1.0},
    "all weights at 1, lr 0.001": {"inherited_lr": 1.0, "lr": 1e-3},
    "all weights at 1, lr 0.001, 10 epochs": {"inherited_lr": 1.0, "lr": 1e-3, "epochs": 10},
    "a quarter of the images": {"limit": 287},
    "a quarter of the images, 12 epochs": {"limit": 287, "epochs": 12},
    "without hidden states": {"teacher": {"hidden": 0.0}},
    "with labels at one half": {"teacher": {"weight": 0.5}},
}


def run(setting: Setting) -> list[dict[str, Any]]:
    images = load("digits", seed=0)
    with tempfile.TemporaryDirectory() as folder:
        parents = [
            trained_parent(
                load_genome("mixed_digits"), images, Training(epochs=30), Path(folder) / str(seed), seed=seed
            )
            for seed in SEEDS
        ]
        libraries = [Library(parent) for parent in parents]
        ranked = [_ranks(library, seed) for seed, library in enumerate(libraries[:2])]
        return [*ranked, _recipes(libraries), _starts(parents)]


# ----------------------------------------------------------------------------------------------------------------------
# τ with the KL after repair
# ----------------------------------------------------------------------------------------------------------------------
def _ranks(library: Library, seed: int) -> dict[str, Any]:
    drawn = random_assemblies(library.parts, ASSEMBLIES, 0)
    drawn = [each for each in drawn if _makes_a_model(library, each)]
    single, before = library.singles(), [score.kl for score in library.scores(drawn)]
    found = [library.repaired(each, seed=number, epochs=EPOCHS) for number, each in enumerate(drawn)]
    after = np.array([kl for _, kl in found])
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
    accuracy = [100 * each for each, _ in found]
    return {"at": at, "assemblies": len(drawn), "accuracy": [min(accuracy), max(accuracy)], "rows": rows}


def _makes_a_model(library: Library, assembly: dict[str, str]) -> bool:
    from nas.convert.plan import valid

    return valid(library.parts, assembly, Budget())


def _tau(one: np.ndarray, other: np.ndarray) -> float:
    return float(stats.kendalltau(one, other).statistic)


def _middle(values: list[float]) -> tuple[float, float]:
    """The middle 95 %."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


# ----------------------------------------------------------------------------------------------------------------------
# Recipes and starts
# ----------------------------------------------------------------------------------------------------------------------
def _recipes(libraries: list[Library]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    picked = []
    for library in libraries:
        found = problem(library.parts, library.singles(), Budget())
        picks = chosen(library.parts, found, "macs", Budget(), points=6, tried=50, seed=0, measure=library.scores)
        picked.append([pick.assembly for pick in picks[:4]])
    for name, changes in RECIPES.items():
        kls, gains = [], []
        for library, assemblies in zip(libraries, picked, strict=True):
            own = library.scorer(library.parent.donor.model())
            assert own.kl == 0.0
            changed = changes
            if "teacher" in changes:
                base = {"kind": "soft", "weight": 1.0, "hidden": 1.0, "model": str(library.parent.file)}
                changed = {"teacher": base | changes["teacher"]}
            found_here = [library.repaired(each, seed=0, **changed) for each in assemblies]
            kls.append(statistics.mean(kl for _, kl in found_here))
            parent = _accuracy(library)
            gains.append(statistics.mean(100 * (accuracy - parent) for accuracy, _ in found_here))
        table[name] = {"kl": _mean(kls), "points": _mean(gains)}
    return {"at": "digits", "recipes": table, "rows": []}


def _accuracy(library: Library) -> float:
    labels_N, own_NK = library.scorer.labels_N, library.scorer.parent_NK
    return float((own_NK.argmax(1) == labels_N).double().mean())


def _starts(parents: list[Parent]) -> dict[str, Any]:
    linear = DEFAULT["linear"].model_dump()
    off_centre = Candidate.model_validate({"core": linear["core"] | {"centred": False}})
    local = {"block": "depthwise", "dimensions": 2}
    candidates = {
        "reuse": DEFAULT["reuse"],
        "linear, keys not centred": off_centre,
        "linear": DEFAULT["linear"],
        "linear_local, keys not centred": Candidate.model_validate(off_centre.model_dump() | {"local": local}),
        "linear_local": DEFAULT["linear_local"],
    }
    hows = {"inherited": (0, 0), "closed form": (0, 256)} | {
        f"{rounds} round(s)": (rounds, 256) for rounds in (1, 2, 4)
    }
    table: dict[str, dict[str, Any]] = {name: {} for name in candidates}
    for how, (rounds, closed_form) in hows.items():
        found: dict[str, list[float]] = {name: [] for name in candidates}
        for parent in parents:
            library = Library(parent, candidates, Distillation(rounds=max(rounds, 1), closed_form=closed_form), rounds)
            single = library.singles()
            for name in candidates:
                found[name].append(statistics.mean(score.kl for (_, each), score in single.items() if each == name))
        for name, values in found.items():
            table[name][how] = _mean(values)
    return {"at": "digits", "starts": table, "rows": []}


def _mean(values: list[float]) -> dict[str, float]:
    """Mean and the half width of its 95 % t interval."""
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return {"mean": statistics.mean(values), "half": float(half)}


def row(
    what: str, at: str, value: float, interval: tuple[float, float] | None, bar: float | None, *, upper: bool
) -> dict[str, Any]:
    """A row of the table of benchmarks. upper: the bar is the most that is allowed."""
    low, high = interval or (None, None)
    fine = None if bar is None else (value <= bar if upper else value >= bar)
    return {
        "what": what,
        "against": "—",
        "at": at,
        "about": "conversion",
        "bar": bar,
        "upper": upper,
        "ratio": {"value": value, "low": low, "high": high},
        "met": fine,
        "limit": "",
    }
