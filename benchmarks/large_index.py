"""What a set of 10,000,000 images costs before one is decoded: memory of its index, and the start of an epoch.

The set is one of folders, named as ImageNet's (1,000 files in each of 10,000), without files: an image that is asked
for is a PNG of 8×8 pixels. Everything else is the product's: the tree of folders, `imagefolder`'s index of it, `load`
with a fiftieth of the images held out, and an epoch of RandAugment with a seed, which decodes its first batch.

Memory is the peak of a process of its own (VmHWM of Linux) beyond what the same steps have taken for a set of 1,000
images, so that imports do not count. Seconds are from the call for an epoch until the first image is decoded, when the
jobs of the first batch are known: five epochs, their median, the lowest and the highest.
"""

from __future__ import annotations

import io
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.contest import met
from benchmarks.machine import Setting
from benchmarks.scale import peak_bytes
from nas.data import Augment, load
from nas.data.encoded import ImageFiles
from nas.data.folders import Folder
from nas.data.index import Names
from nas.data.pictures import Arrays, Choose
from nas.data.registry import Raw, source
from nas.data.sources import imagefolder

LARGE, IMAGENET = 10_000_000, 1_281_167
FOLDER = 1000  # images
EPOCHS, BATCH = 5, 256
GIB, SECONDS = 1.0, 2.0
AUGMENT = Augment(min_area=0.08, auto_augment="randaugment", repeats=3)


def run(setting: Setting) -> list[dict[str, Any]]:
    found = {count: _in_a_process(count) for count in (LARGE, IMAGENET)}
    return [{"at": "a set of folders", "measured": found, "rows": rows(found)}]


def rows(found: dict[int, dict[str, Any]]) -> list[dict[str, Any]]:
    """GiB and bytes an image of the largest set, seconds of both."""
    large = max(found)
    made = []
    for what, key in (("the index", "index"), ("index, splits, and the first batch of an epoch", "epoch")):
        size = found[large][key]
        made += [
            _row(f"{what}: GiB", large, [size / 2**30], GIB),
            _row(f"{what}: bytes an image", large, [size / large]),
        ]
    for count, measured in found.items():
        bar = None if count == large else SECONDS
        made.append(_row("seconds until the first image of an epoch is decoded", count, measured["seconds"], bar))
    return made


def _row(what: str, count: int, values: list[float], bar: float | None = None) -> dict[str, Any]:
    value, several = statistics.median(values), len(values) > 1
    figure = {"value": value, "low": min(values) if several else None, "high": max(values) if several else None}
    return {"what": what, "against": "—", "at": f"{count:,} images", "about": "cost", "bar": bar, "upper": True,
            "ratio": figure, "met": met(value, bar, True), "limit": ""}  # fmt: skip


def _in_a_process(count: int) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(measured, count).result()


def measured(count: int) -> dict[str, Any]:
    """Bytes beyond a small set after the index and after an epoch's first batch; seconds of `EPOCHS` starts."""
    torch.set_num_threads(1)
    _begun(FOLDER, epochs=1)
    before = peak_bytes()
    index, seconds = _begun(count, epochs=EPOCHS)
    return {"index": index - before, "epoch": peak_bytes() - before, "seconds": seconds}


def _begun(count: int, epochs: int) -> tuple[int, list[float]]:
    """The peak once the index is there, and the seconds until the first image of each epoch is decoded."""
    peaks: list[int] = []

    def read(name: str) -> Raw:
        raw = synthetic(count, name)
        peaks.append(peak_bytes())
        return raw

    source(f"synthetic-{count}")(read)
    images = load(f"synthetic-{count}", size=8, validation=0.02, resident_bytes=0)
    pictures = images.train.subset.pictures
    assert isinstance(pictures, _Synthetic)
    seconds = []
    for seed in range(epochs):
        pictures.first, begin = None, time.perf_counter()
        next(images.train.batches(BATCH, seed=seed, augment=AUGMENT))
        assert pictures.first is not None
        seconds.append(pictures.first - begin)
    return peaks[0], seconds


def synthetic(count: int, name: str) -> Raw:
    """`count` images in folders, and two for a test."""
    top, whole = Path("/data/imagenet/train"), range(0, count, FOLDER)
    folders = {}
    for number, start in enumerate(whole):
        synset = f"n{number:08d}"
        names = Names.sorted(f"{synset}_{at}.JPEG" for at in range(min(FOLDER, count - start)))
        folders[synset] = Folder(top / synset, images=names)
    tree = Folder(top, folders)
    classes = tuple(folders) if len(folders) > 1 else ()
    found = imagefolder._images(tree, tuple(folders))
    labels = found.labels if classes else found.labels - 1
    test = Arrays(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), labels[:2])
    return Raw(name, classes, _Synthetic(found, labels), test)


class _Synthetic(ImageFiles):
    """Paths of no files: each image is the same PNG. first: the moment at which one was decoded for training."""

    def __init__(self, found: ImageFiles, labels_N: np.ndarray):
        super().__init__(found.paths, labels_N)
        stream = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(stream, "PNG")
        self.blob, self.first = stream.getvalue(), None  # type: float | None

    def read(self, index: int) -> bytes:
        self.where(index)
        return self.blob

    def state(self, indices: np.ndarray | None = None) -> list[Any]:
        return [len(self)]

    def part(self, index: int, channels: int, choose: Choose, least: int) -> torch.Tensor:
        self.first = self.first or time.perf_counter()
        return super().part(index, channels, choose, least)
