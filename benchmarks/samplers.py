"""Samplers on the replayable table (replay.py): how soon each finds what there is to find.

Every search is the product's own (simulated.py), with its default settings for so many trials on two workers: the base
genome first, no genome twice, the four latest outcomes unknown. A trial draws one of the three accuracies of its
genome, and what is found is judged by the mean of the three. Two views, each a search of its own:
    hypervolume     searches for accuracy and MACs; share of the hypervolume of all genomes together
    regret          searches for accuracy alone; best mean accuracy there is, less the best among those tried
Search number s has the root seed s with every sampler, and differences to random are taken seed by seed. Intervals are
Student's t over seeds, 95 %. A claim is met if the interval of its difference, at the end of the budget, excludes 0 on
the right side.

    python -m benchmarks.samplers --make FOLDER        trains all genomes anew and writes replay.csv
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.machine import Setting
from benchmarks.replay import Replay, make
from benchmarks.simulated import candidates, finished, scratch
from nas.engine import Ledger
from nas.search.samplers import sampler_options

SAMPLERS = ("random", "tpe", "nsga2", "nsga3", "gp", "qmc")
CLAIMED = ("tpe", "nsga2")
VIEWS = {"hypervolume": {"accuracy": "max", "macs": "min"}, "regret": {"accuracy": "max"}}
MARKS = (10, 20, 30, 40)
SEEDS = 100
_SLOW = {"gp": (10, 20)}  # at most so many seeds and trials: it takes seconds a suggestion


def run(setting: Setting, marks: Sequence[int] = MARKS, seeds: int = SEEDS) -> list[dict[str, Any]]:
    """All samplers in both views; a result for each view, with a curve per sampler and a row per claim."""
    replay = Replay()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(setting.threads, mp_context=context, initializer=_alone) as pool:
        found = {
            (view, sampler): pool.map(partial(searched, view, sampler, _until(sampler, marks)), _seeds(sampler, seeds))
            for view in VIEWS
            for sampler in SAMPLERS
        }
        figures = {key: 100 * np.array(list(rows)) for key, rows in found.items()}
    return [_result(view, {s: figures[view, s] for s in SAMPLERS}, marks, replay) for view in VIEWS]


def _seeds(sampler: str, seeds: int) -> range:
    return range(min(seeds, _SLOW[sampler][0]) if sampler in _SLOW else seeds)


def _until(sampler: str, marks: Sequence[int]) -> tuple[int, ...]:
    return tuple(mark for mark in marks if sampler not in _SLOW or mark <= _SLOW[sampler][1])


def searched(view: str, sampler: str, marks: tuple[int, ...], seed: int) -> list[float]:
    """One search; its share of the hypervolume, or its regret, after so many trials."""
    replay = _replay()
    update = {"sampler": sampler_options(sampler), "objectives": VIEWS[view], "trials": marks[-1], "seed": seed}
    spec = replay.spec.model_copy(update=update)
    with scratch() as folder:
        ledger = Ledger(folder)
        source = candidates(spec, replay.space, ledger, replay.estimate)
        tried = [job.hash for job in finished(source, ledger, replay.outcome)]
    measure = replay.share if view == "hypervolume" else replay.regret
    return [measure(tried[:mark]) for mark in marks]


def _result(view: str, figures: dict[str, np.ndarray], marks: Sequence[int], replay: Replay) -> dict[str, Any]:
    """figures: (seeds, marks) per sampler, in percent."""
    name = "hypervolume share, %" if view == "hypervolume" else "regret, points of accuracy"
    curves, rows = [], []
    base = figures["random"]
    for sampler, found in figures.items():
        gains = found - base[: len(found), : found.shape[1]]
        missing = [None] * (len(marks) - found.shape[1])
        curves.append(
            {
                "what": sampler,
                "note": f"{len(found)} seeds",
                "values": [interval(column) for column in found.T] + missing,
                "differences": None if sampler == "random" else [interval(column) for column in gains.T] + missing,
            }
        )
        if sampler in CLAIMED:
            rows.append(_row(f"{sampler} less random, {name}", view == "regret", interval(gains[:, -1]), marks[-1]))
    at = f"{name} (difference to random)"
    genomes, spread = len(replay.hashes), {k: 100 * v for k, v in replay.spread.items()}
    return {"at": at, "marks": list(marks), "genomes": genomes, "spread": spread, "curves": curves, "rows": rows}


def _row(what: str, upper: bool, figure: dict[str, float], trials: int) -> dict[str, Any]:
    return {
        "what": what,
        "against": "random",
        "at": f"{trials} trials",
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
def _replay() -> Replay:
    """The table, read once a process."""
    return Replay()


def _alone() -> None:
    """A worker process takes one core."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.samplers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--make", type=Path, required=True, metavar="FOLDER", help="where the runs go")
    make(parser.parse_args().make)
