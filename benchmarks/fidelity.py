"""What stopping early is worth: hypervolume by epochs spent, with successive halving and with full training.

Searches for accuracy and MACs on the tables of epochs.py, with the product's own sampler, scheduler and searcher
(simulated.py). A search may spend as many epochs as 40 full trainings take; a promoted trial pays for its further
epochs alone. What it has found is what it has trained to the end: the share of all genomes' hypervolume.

Schedules: `first/factor`, the epochs of the first rung and one in how many goes on. Differences are to full training
at equal epochs, seed by seed, with the same sampler; intervals of the rows are bootstrapped over seeds. With so few
genomes, halving ends when it has seen all of them: it cannot spend 40 trainings, and its curve is flat from there on.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import Any

import numpy as np

from benchmarks.epochs import TABLES, Epochs
from benchmarks.machine import Setting
from benchmarks.samplers import alone, interval
from benchmarks.simulated import candidates, finished, scratch
from nas.engine import Ledger
from nas.search.samplers import sampler_options
from nas.search.schedulers import SchedulerOptions, scheduler_options

SAMPLERS = ("cost_aware", "random")
SCHEDULES = ("full", "1/3", "2/3", "3/2", "4/3", "6/2")
MARKS = (5, 10, 20, 30, 40)  # trainings to the end, in epochs
REACHED = 20  # trainings
SEEDS = 100
DRAWS = 1000  # of the bootstrap, over seeds


def run(setting: Setting) -> list[dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(setting.threads, mp_context=context, initializer=alone) as pool:
        found = {
            (name, sampler, schedule): pool.map(partial(searched, name, sampler, schedule), range(SEEDS))
            for name in TABLES
            for sampler in SAMPLERS
            for schedule in SCHEDULES
            if _rungs(name, schedule)
        }
        figures = {key: 100 * np.array(list(rows)) for key, rows in found.items()}
    return [result(name, {key[1:]: rows for key, rows in figures.items() if key[0] == name}) for name in TABLES]


def searched(name: str, sampler: str, schedule: str, seed: int) -> list[float]:
    """Share of the hypervolume at each whole training's worth of epochs, from the first on."""
    table = table_of(name)
    budget = MARKS[-1] * table.epochs
    update = {
        "sampler": sampler_options(sampler),
        "scheduler": _scheduler(schedule),
        "trials": len(table.hashes),
        "seed": seed,
    }
    spec = table.spec.model_copy(update=update)
    spent, before, shares, complete = 0, dict[int, int](), [0.0] * MARKS[-1], list[str]()

    with scratch() as folder:
        ledger = Ledger(folder)
        for job in finished(candidates(spec, table.space, ledger, table.estimate), ledger, table.outcome):
            until = job.until or table.epochs
            spent += until - before.get(job.number, 0)
            before[job.number] = until
            if spent > budget:
                break
            if job.until is None:
                complete.append(job.hash)
                for mark in range(-(-spent // table.epochs), MARKS[-1] + 1):
                    shares[mark - 1] = table.share(complete)
    return shares


def result(name: str, figures: dict[tuple[str, str], np.ndarray]) -> dict[str, Any]:
    """figures: (seeds, MARKS[-1]) by sampler and schedule, in percent."""
    table = table_of(name)
    curves, rows = [], []
    for (sampler, schedule), found in figures.items():
        full = figures[sampler, "full"]
        gains = found - full
        curves.append(
            {
                "what": f"{sampler}, {schedule}",
                "note": f"{len(found)} seeds",
                "values": [interval(found[:, mark - 1]) for mark in MARKS],
                "differences": None if schedule == "full" else [interval(gains[:, mark - 1]) for mark in MARKS],
            }
        )
        if schedule != "full":
            share, drawn = _epochs_needed(found, full), _bootstrap(found, full)
            figure = {"value": share, "low": float(np.quantile(drawn, 0.025)), "high": float(np.quantile(drawn, 0.975))}
            what = f"epochs that halving {schedule} needs for what full training has after {REACHED}, as a share"
            at = f"{name}, {sampler}"
            row = {"what": what, "against": "full", "at": at, "about": "share", "bar": None, "upper": True}
            rows.append(row | {"ratio": figure, "met": None, "limit": ""})
    taus = {epoch: table.tau(epoch) for epoch in range(1, table.epochs)}
    said = ", ".join(f"{tau:.2f}" for tau in taus.values())
    at = f"{name}: hypervolume share, % (difference to full training); τ of epochs 1, 2, … with the last: {said}"
    return {"at": at, "unit": "trainings", "marks": list(MARKS), "curves": curves, "rows": rows, "taus": taus}


def _epochs_needed(found: np.ndarray, full: np.ndarray) -> float:
    """As a share; 2 if the mean curve does not get there within all epochs."""
    aim = full[:, REACHED - 1].mean()
    reached = np.flatnonzero(found.mean(0) >= aim)
    return float(reached[0] + 1 if len(reached) else MARKS[-1]) / REACHED


def _bootstrap(found: np.ndarray, full: np.ndarray) -> np.ndarray:
    draws = np.random.default_rng(0).integers(len(found), size=(DRAWS, len(found)))
    return np.array([_epochs_needed(found[draw], full[draw]) for draw in draws])


@cache
def table_of(name: str) -> Epochs:
    """A table, read once a process."""
    return Epochs(name)


def _scheduler(schedule: str) -> SchedulerOptions:
    if schedule == "full":
        return scheduler_options(schedule)
    first, factor = (int(part) for part in schedule.split("/"))
    return scheduler_options({"name": "halving", "first": first, "factor": factor})


def _rungs(name: str, schedule: str) -> bool:
    """Whether the first rung is before the last epoch."""
    return schedule == "full" or int(schedule.split("/")[0]) < table_of(name).epochs
