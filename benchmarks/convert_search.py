"""Conversion against what else one would do with the same compute: hypervolume by CPU seconds, on digits.

Five seeds, each with a parent of its own (mixed_digits, 30 epochs) and its own splits' training order. All arms offer
the same choices a layer (the default candidates), and have accuracy on validation and MACs as objectives:

    conversion   library, scores, choice and repairs as `nas convert` does them, six points
    random       the library, then random assemblies with the same repair, until the conversion's CPU seconds are spent
    all-linear   the library, then both linear candidates in all layers, the same CPU seconds spent on epochs of repair
    search       `nas search` with its default sampler: 24 trials of the parent's recipe from new weights

The parent itself is a point of the first three from the start. Reference point: the product's own rule (slightly worse
than the worst point) over all points of a seed. CPU seconds are of this process; the search's are those of its
trainings. The compute of a conversion ends with the repair at which it has reached the search's last hypervolume, or
with its last one.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.convert_parts import Library, Parent, row, trained_parent
from benchmarks.machine import Setting
from benchmarks.simulated import candidates, finished
from nas.convert.candidates import DEFAULT, KEEP, Assembly
from nas.convert.plan import chosen, problem, random_assemblies, valid
from nas.data import ImageSet, load
from nas.engine import Job, Ledger, Outcome
from nas.genome import Genome, load_genome
from nas.search import SearchSpec
from nas.search.budget import Budget
from nas.search.pareto import hypervolume, reference_of
from nas.search.space import SearchSpace
from nas.seeds import derive
from nas.train import Training, train

SEEDS = range(5)
TRIALS, POINTS = 24, 6
RECIPE = {"epochs": 30}
LINEAR = ("linear", "linear_local")
Curve = list[tuple[float, float, float]]  # CPU seconds since the start, accuracy, MACs


def run(setting: Setting) -> list[dict[str, Any]]:
    images = load("digits", seed=0)
    with tempfile.TemporaryDirectory() as folder:
        seeds = [_seed(images, Path(folder) / str(seed), seed) for seed in SEEDS]
    return [{"at": f"digits, {len(seeds)} seeds", "seeds": seeds, "rows": rows(seeds)}]


def rows(seeds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Compute is compared only if the conversion reaches the search's hypervolume at every seed."""
    at = f"digits, {len(seeds)} seeds"
    reached = sum(each["reached the search"] for each in seeds)
    what = "seeds at which a conversion reaches the hypervolume of a search of 24"
    made = [row(what, at, reached, None, len(seeds), upper=False)]
    of_search = [each["hypervolume"]["conversion"] / each["hypervolume"]["search"] for each in seeds]
    made.append(row("hypervolume of the conversion over the search's", at, *_mean(of_search), None, upper=False))
    alone = [each["conversion until"] / each["search seconds"] for each in seeds]
    whole = [(each["parent seconds"] + each["conversion until"]) / each["search seconds"] for each in seeds]
    bars = (1 / 10, 1 / 5) if reached == len(seeds) else (None, None)
    made.append(row("its compute over the search's", at, *_ratio(alone), bars[0], upper=True))
    made.append(row("the same with the parent's training", at, *_ratio(whole), bars[1], upper=True))
    for arm in ("random", "all-linear"):
        gains = [each["hypervolume"]["conversion"] / each["hypervolume"][arm] - 1 for each in seeds]
        mean, interval = _mean(gains)
        made.append(
            row(f"hypervolume at equal compute over that of {arm}, less 1", at, mean, interval, 0.0, upper=False)
        )
        made[-1] |= {"met": interval[0] > 0}
    return made


def _seed(images: ImageSet, folder: Path, seed: int) -> dict[str, Any]:
    parent = trained_parent(load_genome("mixed_digits"), images, Training(**RECIPE), folder / "parent", seed=seed)
    clock = Clock()
    library = Library(parent)
    begun = clock.seconds
    own = library.accuracy, library.parts.own["macs"]
    conversion = [(0.0, *own), *_conversion(library, clock, seed)]
    spent = conversion[-1][0]
    curves: dict[str, Curve] = {
        "conversion": conversion,
        "random": [(0.0, *own), *_random(library, begun, spent, seed)],
        "all-linear": [(0.0, *own), *_all_linear(library, begun, spent)],
        "search": _search(parent, library, folder / "search", seed),
    }
    points = {name: np.array([[-accuracy, macs] for _, accuracy, macs in curve]) for name, curve in curves.items()}
    reference_M = reference_of(np.vstack(list(points.values())))
    reached = {name: hypervolume(each, reference_M) for name, each in points.items()}
    growth = [hypervolume(points["conversion"][: count + 1], reference_M) for count in range(len(conversion))]
    until = next((number for number, volume in enumerate(growth) if volume >= reached["search"]), None)
    return {
        "seed": seed,
        "parent seconds": parent.seconds,
        "search seconds": curves["search"][-1][0],
        "conversion until": spent if until is None else conversion[max(until, 1)][0],
        "reached the search": until is not None,
        "hypervolume": reached,
        "curves": curves,
    }


class Clock:
    """CPU seconds of this process since it was made."""

    def __init__(self) -> None:
        self.begun = time.process_time()

    @property
    def seconds(self) -> float:
        return time.process_time() - self.begun


def _conversion(library: Library, clock: Clock, seed: int) -> Iterator[tuple[float, float, float]]:
    found = problem(library.parts, library.singles(), Budget())
    picks = chosen(library.parts, found, "macs", Budget(), points=POINTS, tried=50, seed=seed, measure=library.scores)
    for pick in picks:
        accuracy, _ = library.repaired(pick.assembly, seed=seed)
        yield clock.seconds, accuracy, _macs(library, pick.assembly)


def _random(library: Library, begun: float, spent: float, seed: int) -> Iterator[tuple[float, float, float]]:
    """Random assemblies until `spent` CPU seconds, of which the library took `begun`."""
    clock = Clock()
    for assembly in random_assemblies(library.parts, 1000, derive(seed, "random")):
        if begun + clock.seconds >= spent:
            return
        if valid(library.parts, assembly, Budget()):
            accuracy, _ = library.repaired(assembly, seed=seed)
            yield begun + clock.seconds, accuracy, _macs(library, assembly)


def _all_linear(library: Library, begun: float, spent: float) -> Iterator[tuple[float, float, float]]:
    """Both linear candidates in all layers, each with half of what is left, counted in epochs of the first."""
    whole = [dict.fromkeys(library.parts.layers, name) for name in LINEAR]
    clock = Clock()
    library.repaired(whole[0], seed=0, epochs=1)
    epochs = max(1, round((spent - begun) / len(whole) / clock.seconds))
    clock = Clock()
    for assembly in whole:
        accuracy, _ = library.repaired(assembly, seed=0, epochs=epochs)
        yield begun + clock.seconds, accuracy, _macs(library, assembly)


def _search(parent: Parent, library: Library, folder: Path, seed: int) -> Curve:
    """24 trials of the default sampler, trained by the parent's recipe from new weights."""
    genome = library.parts.parent
    choices = {layer: {"choice": [_slots(genome, layer, name) for name in names]}
               for layer, names in library.parts.options.items()}  # fmt: skip
    data = {"name": "convert", "base": genome.model_dump(mode="json", exclude_defaults=True), "parameters": choices}
    keys = {"objectives": {"accuracy": "max", "macs": "min"}, "trials": TRIALS, "training": RECIPE, "seed": seed}
    spec = SearchSpec.parse(data | keys)
    space = SearchSpace(genome, spec.expanded())
    ledger = Ledger(folder)
    curve: Curve = []
    seconds = 0.0

    def end(job: Job) -> Outcome:
        nonlocal seconds
        clock = Clock()
        found = train(job.genome, parent.images, spec.training, directory=job.directory, seed=job.seed)
        seconds += clock.seconds
        assert found.accuracy is not None
        curve.append((seconds, found.accuracy, job.costs["macs"]))
        return Outcome.of(job, "complete", accuracy=found.accuracy, epochs=found.epochs, seconds=clock.seconds)

    for _ in finished(candidates(spec, space, ledger, library.parts.estimate), ledger, end):
        pass
    return curve


def _slots(genome: Genome, layer: str, name: str) -> dict[str, Any]:
    """What a candidate puts into a layer, as a value of a search space."""
    stage, number = (int(part) for part in layer.split(".")[1::2])
    run = genome.stages[stage].layers[number]
    own = {slot: config.model_dump(mode="json") for slot in ("core", "local") if (config := getattr(run, slot))}
    return own if name == KEEP else own | DEFAULT[name].model_dump(mode="json")


def _macs(library: Library, assembly: Assembly) -> float:
    return library.parts.costs(assembly)["macs"]


def _ratio(values: list[float]) -> tuple[float, tuple[float, float]]:
    """Geometric mean and its 95 % t interval."""
    mean, (low, high) = _mean([math.log(value) for value in values])
    return math.exp(mean), (math.exp(low), math.exp(high))


def _mean(values: list[float]) -> tuple[float, tuple[float, float]]:
    """Mean and its 95 % t interval."""
    mean, half = statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5
    half *= float(stats.t.ppf(0.975, len(values) - 1))
    return mean, (mean - half, mean + half)
