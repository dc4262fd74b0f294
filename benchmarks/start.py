"""A training that starts from a trained model against one from new weights: accuracy by epochs, and each part's share.

The child is the parent with two layers replaced, one by linear-angular attention with centred keys, one by plain reuse
(`less`, identity). It is trained for each number of epochs with a schedule of that length, by the product's own loop
(AdamW, cosine, no teacher), with three seeds; 0 epochs is the accuracy at the start. Arms differ from `start` in one
setting. What counts is the epochs until the child is as good as the parent less the standard error of its accuracy.

- digits: mixed_digits; a parent of 30 epochs for each seed.
- cifar10: softmax_micro_32, the parent of results/published/parent-cifar10, whose validation images are held out here
  as well (2,500 of them are looked at); a child is trained on 2,500 of its 45,000 training images. `NAS_BENCH_CIFAR10`
  names the data (`parquet:PATH`); without it, torchvision's `cifar10`.

Values are means over seeds with a 95 % t interval, in per cent, on validation images.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from scipy import stats

from benchmarks.machine import Setting
from nas.data import ImageSet, load
from nas.genome import Genome, load_genome
from nas.model import Donor, inherit
from nas.timm.donor import read_donor
from nas.train import Training, evaluate, train

SEEDS = (0, 1, 2)
PARENT = Path(__file__).parents[1] / "results" / "published" / "parent-cifar10" / "genome.yaml"
LINEAR = {"block": "linear_angular", "centred": True}
REUSE = {"block": "less", "transform": "identity"}
ARMS: dict[str, dict[str, Any] | None] = {
    "start": {},
    "without the closed form": {"closed_form": 0},
    "inherited weights at the full rate": {"inherited_lr": 1.0},
    "inherited weights frozen": {"inherited_lr": 0.0},
    "layer decay 0.75": {"layer_decay": 0.75},
    "new weights": None,
}


@dataclass(frozen=True)
class Case:
    """`parent`: the donor of a seed. `marks`: epochs of a child. `recipe`: of all children."""

    at: str
    images: ImageSet
    parent: Callable[[int], Donor]
    child: Genome
    marks: tuple[int, ...]
    recipe: dict[str, Any]


def run(setting: Setting) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return [_measured(case, Path(folder), setting) for case in (_digits(Path(folder), setting), _cifar10())]


def _digits(folder: Path, setting: Setting) -> Case:
    images = load("digits", seed=0)
    genome = load_genome("mixed_digits")

    def parent(seed: int) -> Donor:
        where = folder / f"parent-{seed}"
        train(genome, images, Training(epochs=30), directory=where, seed=seed, threads=setting.threads)
        (where / "genome.yaml").write_text(genome.to_yaml())
        return read_donor(str(where / "genome.yaml"))

    child = genome.edit({"stages.0.layers.1.core": LINEAR, "stages.1.layers.2.core": REUSE})
    return Case("digits, mixed_digits", images, parent, child, (1, 2, 4, 8, 16), {})


def _cifar10() -> Case:
    donor = read_donor(str(PARENT))
    data = os.environ.get("NAS_BENCH_CIFAR10", "cifar10")
    images = load(data, seed=0, validation=0.1, preprocess=donor.genome.preprocess)
    images = replace(images, train=images.train.spread(2_500), validation=images.validation.spread(2_500))
    local = {"block": "depthwise", "dimensions": 2}
    layers = [
        {"core": core, "local": local}
        for core in ("softmax", LINEAR, "softmax", "softmax", "softmax", REUSE, "softmax")
    ]
    shape = {"depth": None, "local": None}
    stages = {"stages.0": shape | {"layers": layers[:3]}, "stages.1": shape | {"layers": layers[3:]}}
    edits = {f"{stage}.{key}": value for stage, keys in stages.items() for key, value in keys.items()}
    child = donor.genome.edit(edits)
    return Case(
        "CIFAR-10, softmax_micro_32", images, lambda seed: donor, child, (1, 2, 4), {"batch_size": 128, "lr": 1e-3}
    )


def _measured(case: Case, folder: Path, setting: Setting) -> dict[str, Any]:
    found: dict[str, dict[int, list[float]]] = {arm: {mark: [] for mark in (0, *case.marks)} for arm in ARMS}
    parents = []
    for seed in SEEDS:
        donor = case.parent(seed)
        parents.append(evaluate(donor.model(), case.images.validation))
        for arm, keys in ARMS.items():
            for mark in (0, *case.marks):
                where = folder / f"{case.at} {seed} {arm} {mark}".replace("/", " ")
                found[arm][mark].append(_accuracy(case, donor, seed, keys, mark, where, setting))
            print(
                f"{case.at}, seed {seed}, {arm}: {[f'{100 * found[arm][m][-1]:.1f}' for m in found[arm]]}", flush=True
            )
    return {"at": case.at, "unit": "epochs", "marks": [0, *case.marks], "raw": found, "parents": parents,
            "rows": _rows(case, found, parents), "curves": _curves(found, parents)}  # fmt: skip


def _accuracy(
    case: Case, donor: Donor, seed: int, keys: dict[str, Any] | None, epochs: int, where: Path, setting: Setting
) -> float:
    recipe = Training(epochs=max(epochs, 1), **case.recipe | (keys or {}))
    if epochs == 0:
        torch.manual_seed(seed)
        count = recipe.closed_form if keys is not None else 0
        images_BCHW = next(case.images.train.spread(count).batches(count))[0] if count else None
        model = inherit(case.child, donor, images_BCHW).model if keys is not None else None
        return evaluate(model, case.images.validation) if model is not None else 1 / case.child.classes
    start = donor if keys is not None else None
    result = train(case.child, case.images, recipe, directory=where, seed=seed, donor=start, threads=setting.threads)
    assert result.accuracy is not None
    return result.accuracy


def _rows(case: Case, found: dict[str, dict[int, list[float]]], parents: list[float]) -> list[dict[str, Any]]:
    """Epochs until the mean is the parent's less its standard error; one more than tried where it is not."""
    parent = statistics.fmean(parents)
    error = (parent * (1 - parent) / len(case.images.validation)) ** 0.5
    rows = []
    for arm, by_mark in found.items():
        reached = [mark for mark, values in by_mark.items() if statistics.fmean(values) >= parent - error]
        limit = "" if reached else f"not reached within {case.marks[-1]} epochs"
        rows.append(
            {
                "what": f"{arm}: epochs to the parent's accuracy less its standard error",
                "against": f"{100 * parent:.2f} − {100 * error:.2f} %",
                "at": case.at,
                "about": "epochs",
                "bar": None,
                "upper": True,
                "ratio": {"value": float(reached[0] if reached else case.marks[-1] + 1), "low": None, "high": None},
                "met": None if reached else False,
                "limit": limit,
            }
        )
    return rows


def _curves(found: dict[str, dict[int, list[float]]], parents: list[float]) -> list[dict[str, Any]]:
    first = found["start"]
    curves = []
    for arm, by_mark in found.items():
        values = [_interval(values) for values in by_mark.values()]
        gaps = [[a - b for a, b in zip(by_mark[mark], first[mark], strict=True)] for mark in by_mark]
        differences = None if arm == "start" else [_interval(gap) for gap in gaps]
        curves.append({"what": arm, "note": "", "values": values, "differences": differences})
    whole = [_interval(parents), *[None] * (len(first) - 1)]
    return [*curves, {"what": "the parent", "note": "", "values": whole, "differences": None}]


def _interval(values: list[float]) -> dict[str, float]:
    """Mean and 95 % t interval over seeds, in per cent."""
    mean = statistics.fmean(values)
    half = stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5
    return {"value": 100 * mean, "low": 100 * (mean - half), "high": 100 * (mean + half)}
