"""Conversion: how well scores of single replacements predict whole models, and what they cost beside the parent.

The library of the default candidates is trained in this process, with the product's own functions. τ is Kendall's
rank correlation over random assemblies (each layer replaced with a probability that is itself random), with a 95 %
bootstrap interval over assemblies: of the sum of single KLs with the KL of the assembled model, and for comparison of
the sum of local errors and of the number of replaced layers. Nothing is repaired here.

CPU seconds are of this process: library and scores against the parent's training on the same images (digits: measured
here; CIFAR-10: one epoch is measured here, times the parent's epochs).

- digits: mixed_digits, a parent of 30 epochs for each of two seeds; KL on the validation images.
- cifar10: softmax_micro_32, the parent of results/published/parent-cifar10; 2,000 validation images.
  `NAS_BENCH_CIFAR10` names the data (`parquet:PATH`); without it, torchvision's `cifar10`.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from scipy import stats

from benchmarks.convert_parts import row
from benchmarks.machine import Setting
from benchmarks.start import PARENT
from nas.convert.candidates import DEFAULT, KEEP, Assembly, listed, offered
from nas.convert.library import Distillation, Piece, begin, converted, distil
from nas.convert.score import Scorer
from nas.data import ImageSet, load
from nas.genome import load_genome
from nas.model import Donor
from nas.timm.donor import read_donor
from nas.train import Training, train

ASSEMBLIES = 200
DRAWS = 1000  # of the bootstrap
SCORED = 2000
TAU_BAR = 0.75
CIFAR = {"epochs": 20, "batch_size": 128, "lr": 1e-3, "validation": 0.1}  # the parent's recipe


@dataclass(frozen=True)
class Case:
    """training: CPU seconds of the parent's training. share: the bar on the library's and the scores' CPU seconds."""

    at: str
    images: ImageSet
    donor: Donor
    training: float
    share: float


def run(setting: Setting) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        cases = [_digits(seed, Path(folder), setting) for seed in (0, 1)] + [_cifar10(Path(folder), setting)]
    return [_measured(case) for case in cases]


def _digits(seed: int, folder: Path, setting: Setting) -> Case:
    images, genome, where = load("digits", seed=0), listed(load_genome("mixed_digits")), folder / f"parent-{seed}"
    begun = time.process_time()
    train(genome, images, Training(epochs=30), directory=where, seed=seed, threads=setting.threads)
    seconds = time.process_time() - begun
    (where / "genome.yaml").write_text(genome.to_yaml())
    return Case(f"digits, seed {seed}", images, read_donor(str(where / "genome.yaml")), seconds, 1 / 2)


def _cifar10(folder: Path, setting: Setting) -> Case:
    donor = read_donor(str(PARENT))
    donor = Donor(listed(donor.genome), donor.state)
    data = os.environ.get("NAS_BENCH_CIFAR10", "cifar10")
    images = load(data, seed=0, validation=0.1, preprocess=donor.genome.preprocess)
    begun = time.process_time()
    recipe = Training(**CIFAR | {"epochs": 2})
    train(donor.genome, images, recipe, directory=folder / "epoch", seed=0, threads=setting.threads, until=1)
    seconds = CIFAR["epochs"] * (time.process_time() - begun)
    return Case("CIFAR-10", images, donor, seconds, 1 / 8)


def _measured(case: Case) -> dict[str, Any]:
    parent, held = case.donor.model(), case.images.validation.spread(SCORED)
    begun = time.process_time()
    pieces = _library(case, parent)
    scorer = Scorer(parent, held)
    states = {piece.name: piece.attention.state_dict() for piece in pieces}
    single = {(piece.layer, piece.candidate): _kl(scorer, case.donor, {piece.layer: piece.candidate}, states)
              for piece in pieces}  # fmt: skip
    spent = time.process_time() - begun
    error = {(piece.layer, piece.candidate): piece.errors[-1] for piece in pieces}
    drawn = _drawn(offered(case.donor.genome, DEFAULT))
    measured = [_kl(scorer, case.donor, assembly, states) for assembly in drawn]
    sums = {
        "Σ KL of single replacements": [sum(single[item] for item in each.items()) for each in drawn],
        "Σ local errors": [sum(error[item] for item in each.items()) for each in drawn],
        "replaced layers": [float(len(each)) for each in drawn],
    }
    untouched = torch.equal(scorer.answers(converted(case.donor, {}, DEFAULT, {})), scorer.parent_NK)
    rows = [row("nothing replaced: logits equal the parent's", case.at, float(untouched), None, 1.0, upper=False)]
    for name, values in sums.items():
        bar = TAU_BAR if name.startswith("Σ KL") else None
        tau, interval = _tau(values, measured)
        rows.append(row(f"τ of {name} with the assembly's KL", case.at, tau, interval, bar, upper=False))
    cost = "library and scores, CPU seconds over the parent's training"
    rows.append(row(cost, case.at, spent / case.training, None, case.share, upper=True))
    keyed = {f"{layer} {name}": {"kl": kl, "local_error": error[layer, name]} for (layer, name), kl in single.items()}
    seconds = {"library and scores": spent, "parent": case.training}
    return {
        "at": case.at,
        "pieces": len(pieces),
        "assemblies": len(drawn),
        "seconds": seconds,
        "single": keyed,
        "rows": rows,
    }


def _library(case: Case, parent: Any) -> list[Piece]:
    how = Distillation()
    start_BCHW = next(case.images.train.spread(how.closed_form).batches(how.closed_form))[0]
    pieces = begin(case.donor, offered(case.donor.genome, DEFAULT), DEFAULT, start_BCHW)
    for _ in range(how.rounds):
        distil(parent, pieces, case.images.train, case.images.validation.spread(SCORED), how)
    return pieces


def _kl(scorer: Scorer, donor: Donor, assembly: Assembly, states: Mapping[str, Mapping[str, torch.Tensor]]) -> float:
    return scorer(converted(donor, assembly, DEFAULT, states)).kl


def _drawn(options: Mapping[str, list[str]]) -> list[Assembly]:
    """Different random assemblies of at least one replaced layer."""
    rng, drawn = Random(0), {}
    while len(drawn) < ASSEMBLIES:
        share = rng.random()
        chosen = {layer: rng.choice(names[1:]) for layer, names in options.items() if rng.random() < share}
        if chosen:
            drawn[tuple(chosen.items())] = chosen
    assert all(KEEP not in each.values() for each in drawn.values())
    return list(drawn.values())


def _tau(predicted: list[float], measured: list[float]) -> tuple[float, tuple[float, float]]:
    """Kendall's τ-b and its 95 % bootstrap interval."""
    x_A, y_A, rng = np.array(predicted), np.array(measured), np.random.default_rng(0)
    draws = rng.integers(len(x_A), size=(DRAWS, len(x_A)))
    taus = [stats.kendalltau(x_A[draw], y_A[draw]).statistic for draw in draws]
    low, high = np.percentile(taus, [2.5, 97.5])
    return float(stats.kendalltau(x_A, y_A).statistic), (float(low), float(high))
