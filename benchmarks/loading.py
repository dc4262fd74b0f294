"""Images a second of decoding for training at 224 pixels, beside timm's loader on the same folder.

2,000 JPEGs of 500×375, made here (smooth colours with noise, about 60 kB each). Both crop a resized rectangle of 8 % to
100 %, mirror, and normalise, with as many processes as threads; timm as its `create_loader` does it for training,
without colour jitter, on the CPU. They take turns, an epoch each, after one epoch to start the processes.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_dataset, create_loader

from benchmarks.machine import Setting
from benchmarks.measure import ratio
from nas.data import Augment, load

COUNT, CLASSES, WIDTH, HEIGHT, SIZE, BATCH = 2000, 10, 500, 375, 224, 64
ROUNDS = 8
AREA = 0.08


def run(setting: Setting) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        write_jpegs(Path(folder))
        epochs = {"nas": ours(Path(folder)), "timm": theirs(Path(folder), setting.threads)}
        seconds: dict[str, list[float]] = {name: [] for name in epochs}
        rates: dict[str, list[float]] = {name: [] for name in epochs}
        order = list(epochs)
        for number in range(ROUNDS + 1):
            for name in order:
                begin = time.perf_counter()
                images = epochs[name](number)
                took = time.perf_counter() - begin
                if number:  # the first epoch starts the processes
                    seconds[name].append(took / images)
                    rates[name].append(images / took)
            order.reverse()
    at = f"{COUNT:,} JPEGs of {WIDTH}×{HEIGHT}, crops of {SIZE}, {setting.threads} processes"
    both = ratio(seconds["timm"], seconds["nas"])
    rows = [{"what": "decoding for training", "against": "timm's loader", "at": at, "about": "training", "bar": 1.0,
             "upper": False, "ratio": asdict(both), "met": both.value >= 1.0, "limit": ""}]  # fmt: skip
    for name, values in rates.items():
        figure = {"value": statistics.median(values), "low": min(values), "high": max(values)}
        rows.append({"what": f"images a second, {name}", "against": "—", "at": at, "about": "rate", "bar": None,
                     "upper": False, "ratio": figure, "met": None, "limit": ""})  # fmt: skip
    return [{"at": at, "images_per_second": rates, "rows": rows}]


def write_jpegs(folder: Path) -> None:
    random = np.random.default_rng(0)
    for index in range(COUNT):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        pixels = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(np.int16)
        noise = random.integers(-12, 13, (HEIGHT, WIDTH, 1), dtype=np.int16)
        place = folder / f"class{index % CLASSES}"
        place.mkdir(exist_ok=True)
        image = Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
        image.save(place / f"{index:04d}.jpg", quality=90)


def ours(folder: Path) -> Callable[[int], int]:
    images = load(f"imagefolder:{folder}", size=SIZE, validation=0, resident_bytes=0)
    augment = Augment(min_area=AREA)
    return lambda seed: sum(len(b) for _, b in images.train.batches(BATCH, seed=seed, augment=augment, drop_last=True))


def theirs(folder: Path, workers: int) -> Callable[[int], int]:
    loader = create_loader(
        create_dataset("", str(folder)), (3, SIZE, SIZE), BATCH, is_training=True, scale=(AREA, 1.0), color_jitter=None,
        interpolation="bilinear", num_workers=workers, use_prefetcher=False, device=torch.device("cpu"),
    )  # fmt: skip
    return lambda seed: sum(len(labels_B) for _, labels_B in loader)
