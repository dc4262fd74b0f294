"""Conversion: what repair needs, and what the parts of a start bring. On digits, mixed_digits; three parents.

- recipes: the chosen assemblies along the front (six points, without the mildest two, which need no repair), repaired
  with other rates, durations, images and labels; KL from the parent and change in accuracy on validation, and on test.
- starts: KL of single replacements, mean over the layers that can: inherited weights alone, with the output projection
  in closed form, and with one, two and four rounds of the library; keys centred or not, with and without the depthwise
  residual.

All figures are means over parents with a 95 % t interval; they have no bars.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.convert_parts import Library, Parent, parents
from benchmarks.machine import Setting
from nas.convert.candidates import DEFAULT, Assembly, Candidate
from nas.convert.library import Distillation
from nas.convert.plan import explored, problem
from nas.search.budget import Budget

PARENTS = 3
# The least of a teacher: a repair always has one.
LABELS = {"label_smoothing": 0.1, "teacher": {"weight": 0.01, "hidden": 0.0}}
RECIPES: dict[str, dict[str, Any]] = {
    "default (3 epochs, lr 0.002, inherited weights at 0.1)": {},
    "1 epoch": {"epochs": 1},
    "10 epochs": {"epochs": 10},
    "inherited weights frozen": {"inherited_lr": 0.0},
    "inherited weights at 0.3": {"inherited_lr": 0.3},
    "all weights at 1": {"inherited_lr": 1.0},
    "all weights at 1, lr 0.001": {"inherited_lr": 1.0, "lr": 1e-3},
    "all weights at 1, lr 0.001, 10 epochs": {"inherited_lr": 1.0, "lr": 1e-3, "epochs": 10},
    "a quarter of the images": {"images": 287},
    "a quarter of the images, 12 epochs": {"images": 287, "epochs": 12},
    "without hidden states": {"teacher": {"hidden": 0.0}},
    "with labels at one half": {"teacher": {"weight": 0.5}},
    "all weights at 1, 10 epochs": {"epochs": 10, "inherited_lr": 1.0},
    "labels at 0.99, all weights at 1": {"inherited_lr": 1.0} | LABELS,
    "labels at 0.99, all weights at 1, 10 epochs": {"epochs": 10, "inherited_lr": 1.0} | LABELS,
}


def run(setting: Setting) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        trained = parents(Path(folder), PARENTS)
        return [_recipes([Library(parent) for parent in trained]), _starts(trained)]


def _recipes(libraries: list[Library]) -> dict[str, Any]:
    picked = [_picked(library) for library in libraries]
    table = {}
    for name, changes in RECIPES.items():
        kls, points, test = [], [], []
        for library, assemblies in zip(libraries, picked, strict=True):
            found = [library.repaired(each, seed=0, **changes) for each in assemblies]
            kls.append(statistics.mean(each.kl for each in found))
            points.append(100 * (statistics.mean(each.accuracy for each in found) - library.accuracy))
            test.append(100 * (statistics.mean(each.test for each in found) - library.test))
        table[name] = {"kl": _mean(kls), "points": _mean(points), "test points": _mean(test)}
    return {"at": "digits", "recipes": table, "rows": []}


def _picked(library: Library) -> list[Assembly]:
    found = problem(library.parts, library.singles(), Budget())
    seen = explored(library.parts, found, "macs", Budget(), points=6, tried=50, seed=0, measure=library.scores)
    return [pick.assembly for pick in seen.picks()[:4]]


def _starts(trained: list[Parent]) -> dict[str, Any]:
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
        for parent in trained:
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
