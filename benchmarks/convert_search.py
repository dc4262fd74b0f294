"""Conversion against what else one would do with the same compute: hypervolume by CPU seconds, on digits.

Every seed has a parent of its own (mixed_digits, 30 epochs). All arms offer the same choices a layer (the default
candidates), and have accuracy and MACs as objectives:

    conversion   library, scores, choice and repairs as `nas convert` does them, six points
    sharing      a shared training in place of the repair: `nas convert --set "sharing.epochs=46 sharing.assemblies=48
                 points=10 library.rounds=1 tried=0 repair=false"`
    random       the library, then random assemblies with the same repair, until the conversion's CPU seconds are spent
    all-linear   the library, then both linear candidates in all layers, the same CPU seconds spent on epochs of repair
    search       `nas search` with its default sampler: 24 trials of the parent's recipe from new weights; it takes
                 minutes a seed, so that five seeds alone have one, and a shared training. Its recipe was found on
                 seeds 0 to 4; seeds 5 to 9 had an earlier one
    mixed        the same search with the MixUp of the shared training in its recipe, at two seeds: whether that alone
                 is what the shared training has before the search

The parent itself is a point of all conversions from the start. Two hypervolumes:

    validation   of all points, by the accuracy that chose them; the best of 24 trials on 288 images is lucky, too
    test         of the points on the validation front, by their accuracy on test, which chose nothing

Reference point: the product's own rule (slightly worse than the worst point) over the points that are compared. CPU
seconds are of this process; the search's are those of its trainings. The compute of a conversion ends with the point at
which it has reached the search's hypervolume, or with its last one. It is held against its bars for the shared
training, which is made for this; the short repair alone is made for a parent that cannot be trained any further.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from benchmarks.convert_parts import Library, Parent, Repaired, row, trained_parent
from benchmarks.machine import Setting
from benchmarks.simulated import candidates, finished
from nas.convert.candidates import DEFAULT, KEEP, Assembly, key_of
from nas.convert.library import Distillation
from nas.convert.plan import Explored, explored, problem, random_assemblies, valid
from nas.convert.sharing import Sharing
from nas.data import ImageSet, load
from nas.engine import Job, Ledger, Outcome
from nas.genome import Genome, load_genome
from nas.search import SearchSpec
from nas.search.budget import Budget
from nas.search.pareto import hypervolume, non_dominated, reference_of
from nas.search.space import SearchSpace
from nas.seeds import derive
from nas.timm.donor import read_donor
from nas.train import Training, evaluate, train

SEEDS, SEARCHED, MIXED = range(3, 15), range(10, 15), range(10, 12)
TRIALS, POINTS = 24, 6
RECIPE: dict[str, Any] = {"epochs": 30}
SHARING = Sharing(epochs=46, assemblies=48)
LINEAR = ("linear", "linear_local")
BARS = (1 / 10, 1 / 5)  # of the search's compute, without and with the parent's training


class Point(NamedTuple):
    """seconds: CPU seconds since the start of its arm. accuracy: on validation."""

    seconds: float
    accuracy: float
    test: float
    macs: float


Curves = dict[str, list[Point]]


def run(setting: Setting) -> list[dict[str, Any]]:
    images = load("digits", seed=0)
    with tempfile.TemporaryDirectory() as folder:
        return [result([curves_of(images, Path(folder) / str(seed), seed) for seed in SEEDS])]


def result(seeds: list[tuple[float, Curves]]) -> dict[str, Any]:
    """seeds: CPU seconds of the parent's training, and what each arm found."""
    rows = []
    for split in ("validation", "test"):
        searched = [each for each in seeds if "search" in each[1]]
        rows += _against_search(searched, "conversion", split)
        rows += _against_search(searched, "sharing", split)
        mixed = [curves for _, curves in searched if "mixed" in curves]
        rows.append(_over(mixed, "mixed", "search", "hypervolume of the search with MixUp over the search's", split))
        what = "hypervolume of the shared training over that of the search with MixUp"
        rows.append(_over(mixed, "sharing", "mixed", what, split))
        rows += [_against_arm([curves for _, curves in seeds], arm, split) for arm in ("random", "all-linear")]
    return {"at": f"digits, {len(seeds)} seeds", "seeds": [_kept(*each) for each in seeds], "rows": rows}


def _kept(seconds: float, curves: Curves) -> dict[str, Any]:
    return {
        "parent seconds": seconds,
        "curves": {name: [list(point) for point in curve] for name, curve in curves.items()},
    }


def _against_search(seeds: list[tuple[float, Curves]], arm: str, split: str) -> list[dict[str, Any]]:
    """Compute is held against its bars for `sharing`, if it reaches the search's hypervolume at every seed."""
    at, shares, alone, whole, reached = f"{arm}, {split}, {len(seeds)} seeds", [], [], [], 0
    for parent_seconds, curves in seeds:
        conversion, search = curves[arm], curves["search"]
        reference_2 = _reference([{arm: conversion, "search": search}], split)
        aim = _volume(search, split, reference_2)
        growth = [_volume(conversion[: count + 1], split, reference_2) for count in range(len(conversion))]
        enough = next((number for number, volume in enumerate(growth) if volume >= aim), None)
        reached += enough is not None
        spent = conversion[-1 if enough is None else max(enough, 1)].seconds
        shares.append(growth[-1] / aim)
        alone.append(spent / search[-1].seconds)
        whole.append((parent_seconds + spent) / search[-1].seconds)
    held = arm == "sharing"
    bars = BARS if held and reached == len(seeds) else (None, None)
    what = "seeds at which a conversion reaches the hypervolume of a search of 24"
    return [
        row(what, at, reached, None, len(seeds) if held else None, upper=False),
        row("hypervolume of the conversion over the search's", at, *_mean(shares), None, upper=False),
        row("its compute over the search's", at, *_ratio(alone), bars[0], upper=True),
        row("the same with the parent's training", at, *_ratio(whole), bars[1], upper=True),
    ]


def _over(seeds: list[Curves], arm: str, other: str, what: str, split: str) -> dict[str, Any]:
    """The hypervolume of an arm over that of another."""
    shares = []
    for curves in seeds:
        reference_2 = _reference([{name: curves[name] for name in (arm, other)}], split)
        shares.append(_volume(curves[arm], split, reference_2) / _volume(curves[other], split, reference_2))
    return row(what, f"{split}, {len(seeds)} seeds", *_mean(shares), None, upper=False)


def _against_arm(seeds: list[Curves], arm: str, split: str) -> dict[str, Any]:
    gains = []
    for curves in seeds:
        compared = {name: curves[name] for name in ("conversion", "random", "all-linear")}
        reference_2 = _reference([compared], split)
        gains.append(_volume(curves["conversion"], split, reference_2) / _volume(curves[arm], split, reference_2) - 1)
    mean, interval = _mean(gains)
    what = f"hypervolume at equal compute over that of {arm}, less 1"
    made = row(what, f"{split}, {len(seeds)} seeds", mean, interval, 0.0, upper=False)
    return made | {"met": interval[0] > 0}


def _points(curve: list[Point], split: str) -> np.ndarray:
    """(N, 2) costs: all points by validation accuracy, or those of the validation front by test accuracy."""
    chosen_N2 = np.array([[-point.accuracy, point.macs] for point in curve])
    if split == "validation":
        return chosen_N2
    valued_N2 = np.array([[-point.test, point.macs] for point in curve])
    front_F2: np.ndarray = valued_N2[non_dominated(chosen_N2)]
    return front_F2


def _reference(seeds: list[Curves], split: str) -> np.ndarray:
    return reference_of(np.vstack([_points(curve, split) for curves in seeds for curve in curves.values()]))


def _volume(curve: list[Point], split: str, reference_2: np.ndarray) -> float:
    return hypervolume(_points(curve, split), reference_2)


def curves_of(images: ImageSet, folder: Path, seed: int) -> tuple[float, Curves]:
    """CPU seconds of the parent's training, and what each arm found at this seed."""
    parent = trained_parent(load_genome("mixed_digits"), images, Training(**RECIPE), folder / "parent", seed=seed)
    clock = Clock()
    library = Library(parent)
    begun = clock.seconds
    own = Point(0.0, library.accuracy, library.test, library.parts.own["macs"])
    conversion = [own, *_conversion(library, clock, seed)]
    spent = conversion[-1].seconds
    curves = {
        "conversion": conversion,
        "random": [own, *_random(library, begun, spent, seed)],
        "all-linear": [own, *_all_linear(library, begun, spent)],
    }
    if seed in SEARCHED:
        curves["sharing"] = [own, *_sharing(parent, seed)]
        curves["search"] = _search(parent, library, folder / "search", seed, RECIPE)
    if seed in MIXED:
        curves["mixed"] = _search(parent, library, folder / "mixed", seed, RECIPE | {"mixup": SHARING.mixup})
    return parent.seconds, curves


class Clock:
    """CPU seconds of this process since it was made."""

    def __init__(self) -> None:
        self.begun = time.process_time()

    @property
    def seconds(self) -> float:
        return time.process_time() - self.begun


def _conversion(library: Library, clock: Clock, seed: int) -> Iterator[Point]:
    for pick in _explored(library, seed, points=POINTS, tried=50).picks():
        yield _point(library, pick.assembly, clock, library.repaired(pick.assembly, seed=seed))


def _sharing(parent: Parent, seed: int) -> Iterator[Point]:
    clock = Clock()
    library = Library(parent, how=Distillation(rounds=1))
    seen = _explored(library, seed, points=10, tried=0)
    members = seen.promising(SHARING.assemblies)
    shared = library.together([{}, *members], SHARING, seed=seed)
    after = {key_of(each): score for each, score in zip(members, shared.scores(members), strict=True)}
    for pick in seen.picks(after):
        yield _point(library, pick.assembly, clock, shared.kept(pick.assembly))


def _explored(library: Library, seed: int, *, points: int, tried: int) -> Explored:
    found = problem(library.parts, library.singles(), Budget())
    return explored(
        library.parts, found, "macs", Budget(), points=points, tried=tried, seed=seed, measure=library.scores
    )


def _random(library: Library, begun: float, spent: float, seed: int) -> Iterator[Point]:
    """Random assemblies until `spent` CPU seconds, of which the library took `begun`."""
    clock = Clock()
    for assembly in random_assemblies(library.parts, 1000, derive(seed, "random")):
        if begun + clock.seconds >= spent:
            return
        if valid(library.parts, assembly, Budget()):
            yield _point(library, assembly, clock, library.repaired(assembly, seed=seed), begun)


def _all_linear(library: Library, begun: float, spent: float) -> Iterator[Point]:
    """Both linear candidates in all layers, each with half of what is left, counted in epochs of the first."""
    whole = [dict.fromkeys(library.parts.layers, name) for name in LINEAR]
    clock = Clock()
    library.repaired(whole[0], seed=0, epochs=1)
    epochs = max(1, round((spent - begun) / len(whole) / clock.seconds))
    clock = Clock()
    for assembly in whole:
        yield _point(library, assembly, clock, library.repaired(assembly, seed=0, epochs=epochs), begun)


def _search(parent: Parent, library: Library, folder: Path, seed: int, recipe: dict[str, Any]) -> list[Point]:
    """24 trials of the default sampler, trained from new weights."""
    genome = library.parts.parent
    choices = {layer: {"choice": [_slots(genome, layer, name) for name in names]}
               for layer, names in library.parts.options.items()}  # fmt: skip
    data = {"name": "convert", "base": genome.model_dump(mode="json", exclude_defaults=True), "parameters": choices}
    keys = {"objectives": {"accuracy": "max", "macs": "min"}, "trials": TRIALS, "training": recipe, "seed": seed}
    spec = SearchSpec.parse(data | keys)
    space = SearchSpace(genome, spec.expanded())
    ledger = Ledger(folder)
    curve: list[Point] = []
    seconds = 0.0

    def end(job: Job) -> Outcome:
        nonlocal seconds
        clock = Clock()
        found = train(job.genome, parent.images, spec.training, directory=job.directory, seed=job.seed)
        seconds += clock.seconds
        assert found.accuracy is not None
        test = evaluate(read_donor(str(job.directory / "genome.yaml")).model(), parent.images.test)
        curve.append(Point(seconds, found.accuracy, test, job.costs["macs"]))
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


def _point(library: Library, assembly: Assembly, clock: Clock, found: Repaired, begun: float = 0.0) -> Point:
    return Point(begun + clock.seconds, found.accuracy, found.test, library.parts.costs(assembly)["macs"])


def _ratio(values: list[float]) -> tuple[float, tuple[float, float]]:
    """Geometric mean and its 95 % t interval."""
    mean, (low, high) = _mean([math.log(value) for value in values])
    return math.exp(mean), (math.exp(low), math.exp(high))


def _mean(values: list[float]) -> tuple[float, tuple[float, float]]:
    """Mean and its 95 % t interval."""
    mean, half = statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5
    half *= float(stats.t.ppf(0.975, len(values) - 1))
    return mean, (mean - half, mean + half)
