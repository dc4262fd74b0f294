"""Samplers on tables of outcomes: how soon each finds what there is to find.

    replay          120 genomes whose effects nearly add up, trained with three seeds each (replay.py)
    interacting     64 genomes whose effects interact, trained alike
    large           millions of genomes; a model of real trials says what a training finds (emulated.py)
    knobs           continuous and conditional parameters, alike

Every search is the product's own (simulated.py), with its default settings for so many trials on two workers: the base
genome first, no genome twice, the four latest outcomes unknown. A trial finds the accuracy of one seed, and what is
found is judged without that noise. Two views, each a search of its own:
    hypervolume     searches for accuracy and MACs; share of the hypervolume of all genomes together
    regret          searches for accuracy alone; best accuracy there is, less the best among those tried
Search number s has the root seed s with every sampler, and differences to random and to TPE are taken seed by seed.
Intervals are Student's t over seeds, 95 %. A claim is met if the interval of its difference excludes 0 on the right
side.

    python -m benchmarks.samplers --make FOLDER --table NAME        trains anew and writes NAME.csv
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks import emulated, outsider, replay
from benchmarks.machine import Setting
from benchmarks.simulated import candidates, finished, scratch
from nas.engine import Ledger
from nas.search.samplers import sampler_options

TABLES = {"replay": replay, "interacting": replay, "large": emulated, "knobs": emulated}
SAMPLERS = ("random", "tpe", "nsga2", "nsga3", "cost_aware", "gp", "qmc", outsider.NAME)
CLAIMED = {"tpe": ("random",), "nsga2": ("random",), "cost_aware": ("random", "tpe")}  # better than these
VIEWS = {"hypervolume": {"accuracy": "max", "macs": "min"}, "regret": {"accuracy": "max"}}
MARKS = (10, 20, 30, 40)
CLAIMED_AT = (20, 40)
SEEDS = 100
_SLOW = ("gp", outsider.NAME)  # a second or more a suggestion: fewer seeds and trials, and the first view alone
_SLOW_SEEDS = _SLOW_TRIALS = 20
_OF_OUTSIDER = ("replay", "interacting")


def run(setting: Setting, marks: Sequence[int] = MARKS, seeds: int = SEEDS) -> list[dict[str, Any]]:
    """All samplers in both views of all tables; a result for each, with a curve per sampler and a row per claim."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(setting.threads, mp_context=context, initializer=alone) as pool:
        found = {
            (name, view, sampler): pool.map(
                partial(searched, view, sampler, _until(sampler, marks), name=name), _seeds(sampler, seeds)
            )
            for name in TABLES
            for view in VIEWS
            for sampler in samplers_of(name, view)
        }
        figures = {key: 100 * np.array(list(rows)) for key, rows in found.items()}
    return [
        result(name, view, {s: figures[name, view, s] for s in samplers_of(name, view)}, marks)
        for name in TABLES
        for view in VIEWS
    ]


def samplers_of(name: str, view: str) -> list[str]:
    """Those that search a table: slow ones for hypervolume alone, the outsider on two tables, where it is installed."""
    here = find_spec("botorch") is not None and name in _OF_OUTSIDER
    of_view = [sampler for sampler in SAMPLERS if view == "hypervolume" or sampler not in _SLOW]
    return [sampler for sampler in of_view if sampler != outsider.NAME or here]


def _seeds(sampler: str, seeds: int) -> range:
    return range(min(seeds, _SLOW_SEEDS) if sampler in _SLOW else seeds)


def _until(sampler: str, marks: Sequence[int]) -> tuple[int, ...]:
    return tuple(mark for mark in marks if sampler not in _SLOW or mark <= _SLOW_TRIALS)


def searched(view: str, sampler: str, marks: tuple[int, ...], seed: int, name: str = "replay") -> list[float]:
    """One search on a table; its share of the hypervolume, or its regret, after so many trials."""
    if sampler == outsider.NAME:
        outsider.install()
    table = table_of(name)
    update = {"sampler": sampler_options(sampler), "objectives": VIEWS[view], "trials": marks[-1], "seed": seed}
    spec = table.spec.model_copy(update=update)
    with scratch() as folder:
        ledger = Ledger(folder)
        source = candidates(spec, table.space, ledger, table.estimate)
        tried = [job.hash for job in finished(source, ledger, table.outcome)]
    measure = table.share if view == "hypervolume" else table.regret
    return [measure(tried[:mark]) for mark in marks]


def result(name: str, view: str, figures: dict[str, np.ndarray], marks: Sequence[int]) -> dict[str, Any]:
    """figures: (seeds, marks) per sampler, in percent."""
    what = "hypervolume share, %" if view == "hypervolume" else "regret, points of accuracy"
    curves, rows = [], []
    for sampler, found in figures.items():
        missing = [None] * (len(marks) - found.shape[1])
        curves.append(
            {
                "what": sampler,
                "note": f"{len(found)} seeds",
                "values": [interval(column) for column in found.T] + missing,
                "differences": None
                if sampler == "random"
                else [interval(column) for column in _less(found, figures["random"]).T] + missing,
            }
        )
        for other in CLAIMED.get(sampler, ()):
            gains = _less(found, figures[other])
            rows += [
                _row(f"{sampler} less {other}, {what}", view == "regret", interval(gains[:, list(marks).index(mark)]))
                | {"against": other, "at": f"{name}, {mark} trials"}
                for mark in (CLAIMED_AT if sampler == "cost_aware" else marks[-1:])
                if mark in marks
            ]
    table = table_of(name)
    spread = {key: 100 * value for key, value in table.spread.items()}
    at = f"{name} ({table.about}): {what} (difference to random)"
    return {"at": at, "marks": list(marks), "spread": spread, "curves": curves, "rows": rows}


def _less(found: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Differences seed by seed, as far as both have been run."""
    seeds, marks = min(len(found), len(other)), min(found.shape[1], other.shape[1])
    return found[:seeds, :marks] - other[:seeds, :marks]


def _row(what: str, upper: bool, figure: dict[str, float]) -> dict[str, Any]:
    return {
        "what": what,
        "about": "difference",
        "bar": 0.0,
        "upper": upper,
        "ratio": figure,
        "met": figure["high"] < 0 if upper else figure["low"] > 0,
        "limit": "the interval does not exclude 0",
    }


def interval(values: np.ndarray) -> dict[str, float]:
    """Mean with its 95 % interval (Student's t)."""
    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)) if len(values) > 1 else 0.0
    return {"value": mean, "low": mean - half, "high": mean + half}


@cache
def table_of(name: str) -> Any:
    """A table, read (and fitted) once a process."""
    return replay.Replay(name) if TABLES[name] is replay else emulated.Emulated(name)


def alone() -> None:
    """A worker process takes one core."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samplers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--make", type=Path, required=True, metavar="FOLDER", help="where the runs go")
    parser.add_argument("--table", choices=TABLES, default="replay")
    given = parser.parse_args()
    TABLES[given.table].make(given.make, given.table)
