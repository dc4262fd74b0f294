"""A dataset, split three ways and measured: what `load` returns and what training takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nas.data.split import Preprocessing, Resident, Split, Subset
from nas.data.streaming import Streaming

SAMPLE = 2048  # images from which mean and std are taken, evenly spaced over the training split


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Square images of `size`, with `channels` channels and labels that index `classes`.

    `mean` and `std` (per channel, of pixels in 0..1) are the training split's, and normalise all three. `flip` says
    whether a mirrored image keeps its class. Selection uses `validation`, which may be empty where nothing is selected;
    `test` is for the winners.
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    train: Split
    validation: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool


def make_split(subset: Subset, preprocessing: Preprocessing, resident_bytes: int) -> Split:
    """Resident where the decoded images fit into `resident_bytes`, streaming where they do not."""
    return Resident(subset, preprocessing) if subset.nbytes <= resident_bytes else Streaming(subset, preprocessing)


def measure(subset: Subset, resident_bytes: int, flip: bool) -> Preprocessing:
    """Mean and standard deviation per channel, from integer histograms: exact, whatever the number of threads."""
    chosen = np.linspace(0, len(subset.indices) - 1, min(SAMPLE, len(subset.indices))).astype(np.int64)
    if subset.nbytes <= resident_bytes:
        stack, rows_N = subset.resident
        sample_MCSS = stack[rows_N[chosen]]
    else:
        stack, rows_M = Subset(subset.pictures, subset.indices[chosen], subset.size, subset.channels).resident
        sample_MCSS = stack[rows_M]
    values = torch.arange(256, dtype=torch.float64)
    mean, std = [], []
    for channel in range(subset.channels):
        histogram = torch.bincount(sample_MCSS[:, channel].flatten(), minlength=256).double()
        average = (histogram @ values) / histogram.sum()
        variance = (histogram @ (values - average) ** 2) / histogram.sum()
        mean.append(float(average) / 255)
        std.append(max(float(variance.sqrt()), 1.0) / 255)  # a channel of one colour stays finite
    return Preprocessing(tuple(mean), tuple(std), flip)
