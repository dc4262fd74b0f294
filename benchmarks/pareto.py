"""Pareto arithmetic: moocore, which nas/search/pareto.py uses, and Optuna's own functions on the same points.

    mask           which points are not dominated, duplicates kept
    hypervolume    of all points, against a reference a little worse than the worst of them
    ranks          the number of the front that each point lies on
    order          what halving asks for after every trial: the best third, by rank and crowding distance, while points
                   arrive one by one. `Ranks` updates its fronts; the other side ranks all points again

Points are uniform in the unit cube, so that a few per cent of them are on the front. Both sides take turns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import moocore
import numpy as np
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _fast_non_domination_rank, _is_pareto_front

from benchmarks.contest import met
from benchmarks.machine import Setting
from benchmarks.measure import interleaved, ratio
from nas.search.pareto import Ranks, crowding_distance, hypervolume, non_dominated, reference_of

SIZES = ((200, 4), (10_000, 2), (10_000, 3))
ARRIVING = 1000  # points of `order`
_BAR = 1.0


def run(setting: Setting, sizes: tuple[tuple[int, int], ...] = SIZES, arriving: int = ARRIVING) -> list[dict[str, Any]]:
    """A result per size, and one for points that arrive one by one."""
    results = []
    for count, objectives in sizes:
        points_NM = np.random.default_rng(0).random((count, objectives))
        results.append(_result(f"{count:,} points, {objectives} objectives", _pairs(points_NM), setting))
    pairs = {}
    for objectives in (2, 3):
        points_NM = np.random.default_rng(0).random((arriving, objectives))
        names = f"order, {objectives} objectives", "Ranks", "moocore anew"
        pairs[names] = (_updated(points_NM), _anew(points_NM))
    return [*results, _result(f"{arriving:,} points, one by one", pairs, setting)]


Pairs = dict[tuple[str, str, str], tuple[Callable[[], object], Callable[[], object]]]


def _pairs(points_NM: np.ndarray) -> Pairs:
    reference_M = reference_of(points_NM)
    return {
        ("mask", "moocore", "Optuna"): (
            lambda: non_dominated(points_NM),
            lambda: _is_pareto_front(points_NM, assume_unique_lexsorted=False),
        ),
        ("hypervolume", "moocore", "Optuna"): (
            lambda: hypervolume(points_NM, reference_M),
            lambda: compute_hypervolume(points_NM, reference_M),
        ),
        ("ranks", "moocore", "Optuna"): (
            lambda: moocore.pareto_rank(points_NM),
            lambda: _fast_non_domination_rank(points_NM),
        ),
    }


def _updated(points_NM: np.ndarray) -> Callable[[], list[int]]:
    def call() -> list[int]:
        ranks = Ranks(points_NM.shape[1])
        best: list[int] = []
        for count, point_M in enumerate(points_NM, start=1):
            ranks.add(point_M)
            best = ranks.best(count // 3)
        return best

    return call


def _anew(points_NM: np.ndarray) -> Callable[[], list[int]]:
    def call() -> list[int]:
        best: list[int] = []
        for count in range(1, len(points_NM) + 1):
            arrived_NM = points_NM[:count]
            ranks_N = moocore.pareto_rank(arrived_NM)
            distance_N = np.empty(count)
            for rank in range(int(np.partition(ranks_N, count // 3)[count // 3]) + 1):
                front_F = np.flatnonzero(ranks_N == rank)
                distance_N[front_F] = crowding_distance(arrived_NM[front_F])
            best = np.lexsort((-distance_N, ranks_N))[: count // 3].tolist()
        return best

    return call


def _result(at: str, pairs: Pairs, setting: Setting) -> dict[str, Any]:
    rows = []
    for (what, ours, theirs), (call, other) in pairs.items():
        times = interleaved({"ours": call, "theirs": other}, device="cpu", seconds=setting.seconds, least=setting.least)
        found = ratio(times["theirs"], times["ours"])
        row = {"what": f"{what}, {ours}", "against": theirs, "at": at, "about": "speed", "bar": _BAR, "upper": False}
        rows.append(row | {"ratio": asdict(found), "met": met(found.value, _BAR, False), "limit": ""})
    return {"at": at, "rows": rows}
