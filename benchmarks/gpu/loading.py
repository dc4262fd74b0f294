"""Images that are decoded by other processes while a model trains, and reach the GPU through pinned memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.gpu.check import Found, Place
from nas.data import Augment, load
from nas.data.streaming import Streaming
from nas.device import torch_threads

IMAGES = 240
BATCH = 16
BAR = 1e-5  # of normalised pixels
PROCESSES = 2
AUGMENT = Augment(min_area=0.4, erase=0.5)


def streaming(place: Place) -> Found:
    """Batches on the device, decoded in two processes, equal those that this process decodes for the CPU."""
    _write(place.folder / "pictures", 40 if place.rehearsal else IMAGES)
    split = load(f"imagefolder:{place.folder}/pictures", size=32, resident_bytes=0).train
    assert isinstance(split, Streaming)
    seen = {}
    for device, threads in (("cpu", 1), (place.device, PROCESSES)):
        with torch_threads(threads):  # which is also how many processes decode
            batches = [split.batches(BATCH, device=device, seed=seed, augment=AUGMENT) for seed in (1, 2)]
            pairs = [(images.cpu(), labels.cpu()) for epoch in batches for images, labels in epoch]
        seen[threads] = [torch.cat(parts) for parts in zip(*pairs, strict=True)]
    (images, labels), (images_there, labels_there) = seen[1], seen[PROCESSES]
    off = float((images - images_there).abs().max())
    wrong = [f"pixels differ by {off:.1e}"] if not off <= BAR else []
    wrong += [] if torch.equal(labels, labels_there) else ["labels differ"]
    count = len(labels)
    return Found(f"{count} images in two epochs, pixels within {off:.0e}", wrong, {"images": count, "off": off})


def _write(folder: Path, count: int) -> None:
    """JPEG files of two classes, larger than they are needed."""
    rng = np.random.default_rng(0)
    for number in range(count):
        file = folder / ("cat", "dog")[number % 2] / f"{number:03}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (72, 96, 3), dtype=np.uint8)).save(file)
