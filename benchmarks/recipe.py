"""A named recipe in the product's loop against a loop that is made of timm's own pieces: top-1 of both, in pairs.

Both train lavit_micro_32 by `deit` on CIFAR-10 for 10 epochs, each seed with the same first weights and the same
batches, augmented alike by nas/data. Theirs has timm's optimiser groups, schedule (stepped after each update), Mixup
(drawn by numpy) and ModelEmaV3, and no part of nas/train. Learning rate, batch and average are set for a training of
this length. The bar is on the difference in points of top-1 on all images that neither was trained on (5,000 of
validation, 10,000 of test): the lower end of its 95 % t interval over three seeds must be above -1.

`NAS_BENCH_CIFAR10` names the data (`parquet:PATH`); without it, torchvision's `cifar10`. The six trainings take hours
on a CPU: with `NAS_BENCH_KEEP=FOLDER`, those that are done are kept there, and the next call goes on;
delete it after any change of the code.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import ModelEmaV3
from torch import nn

from benchmarks.machine import Setting
from nas.data import ImageSet, load
from nas.files import write_text
from nas.genome import Genome, load_genome
from nas.model import build
from nas.seeds import derive
from nas.train import Training, evaluate, train

SEEDS = (0, 1, 2)
BAR = -1.0  # points
GIVEN = {"epochs": 10, "batch_size": 128, "lr": 1e-3, "lr_base_size": None, "warmup_epochs": 1, "ema": 0.99}


def run(setting: Setting) -> list[dict[str, Any]]:
    images = load(os.environ.get("NAS_BENCH_CIFAR10", "cifar10"), seed=0, validation=0.1)
    training = Training.model_validate({"recipe": "deit", **GIVEN})
    return [compared("CIFAR-10, lavit_micro_32", load_genome("lavit_micro_32"), images, training, setting)]


def compared(
    at: str, genome: Genome, images: ImageSet, training: Training, setting: Setting, seeds: tuple[int, ...] = SEEDS
) -> dict[str, Any]:
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        keep = Path(os.environ.get("NAS_BENCH_KEEP", folder))
        for seed in seeds:
            directory, timm = keep / f"ours-{seed}", keep / f"timm-{seed}.json"
            train(genome, images, training, directory=directory, seed=seed, threads=setting.threads)
            ours.append(held_out(build(genome, weights=directory / "weights.safetensors"), images))
            if not timm.exists():
                write_text(timm, json.dumps(held_out(timms(genome, images, training, seed), images)))
            theirs.append(json.loads(timm.read_text()))
            print(f"{at}, seed {seed}: {ours[-1]:.2f} and timm's {theirs[-1]:.2f} %", flush=True)
    gaps = [mine - other for mine, other in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(gaps)
    half = float(stats.t.ppf(0.975, len(gaps) - 1)) * statistics.stdev(gaps) / len(gaps) ** 0.5
    row = {
        "what": f"{training.recipe}, {training.epochs} epochs: top-1 less that of timm's pieces",
        "against": f"{statistics.fmean(theirs):.2f} %",
        "at": at,
        "about": "points",
        "bar": BAR,
        "upper": False,
        "ratio": {"value": mean, "low": mean - half, "high": mean + half},
        "met": mean - half > BAR,
        "limit": "",
    }
    return {"at": at, "raw": {"ours": ours, "timm": theirs}, "rows": [row]}


def held_out(model: nn.Module, images: ImageSet) -> float:
    """Top-1 on validation and test images together, in per cent."""
    splits = [split for split in (images.validation, images.test) if len(split)]
    return 100 * sum(evaluate(model, split) * len(split) for split in splits) / sum(map(len, splits))


def timms(genome: Genome, images: ImageSet, training: Training, seed: int) -> nn.Module:
    """The weight average, or the model without one."""
    torch.manual_seed(derive(seed, "weights"))
    np.random.seed(seed)  # noqa: NPY002  (timm's Mixup draws from it)
    model = build(genome)
    ema = ModelEmaV3(model, decay=training.ema, use_warmup=training.ema_warmup)
    optimizer = create_optimizer_v2(model, "adamw", lr=training.peak_lr, weight_decay=training.weight_decay)
    steps = len(images.train) // training.batch_size
    schedule, _ = create_scheduler_v2(
        optimizer,
        "cosine",
        num_epochs=training.epochs,
        min_lr=training.min_lr,
        warmup_lr=training.warmup_lr,
        warmup_epochs=round(training.warmup_epochs),
        step_on_epochs=False,
        updates_per_epoch=steps,
    )
    mix = Mixup(training.mixup, training.cutmix, label_smoothing=training.label_smoothing, num_classes=genome.classes)
    criterion, done = SoftTargetCrossEntropy(), 0
    for epoch in range(training.epochs):
        model.train()
        batches = images.train.batches(
            training.batch_size, seed=derive(seed, "epoch", epoch), augment=training.augment, drop_last=True
        )
        for images_BCHW, labels_B in batches:
            mixed_BCHW, labels_BK = mix(images_BCHW, labels_B)
            loss = criterion(model(mixed_BCHW), labels_BK)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            ema.update(model, step=done)
            schedule.step_update(done)
    return ema.module if training.ema else model
