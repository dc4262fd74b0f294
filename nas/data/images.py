"""A dataset, split three ways and measured: what `load` returns and what training takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nas.data.split import Look, Resident, Split, View
from nas.data.streaming import Streaming

SAMPLE = 2048  # images from which mean and std are taken, evenly spaced over the training split


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Square images of `size`, with `channels` channels and labels that index `classes`.

    `mean` and `std` (per channel, of pixels in 0..1) are the training split's, and normalise all three. `flip` says
    whether a mirrored image keeps its class. Selection looks at `validation`, which may be
    empty where nothing is selected; `test` is for the winners.
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


def make_split(view: View, look: Look, resident_bytes: int) -> Split:
    """Resident where the decoded images fit into `resident_bytes`, streaming where they do not."""
    return Resident(view, look) if view.nbytes <= resident_bytes else Streaming(view, look)


def measure(view: View, resident_bytes: int, flip: bool) -> Look:
    """Mean and standard deviation per channel, from integer histograms: exact, whatever the number of threads."""
    chosen = np.linspace(0, len(view.indices) - 1, min(SAMPLE, len(view.indices))).astype(np.int64)
    if view.nbytes <= resident_bytes:
        stack, rows_N = view.resident
        sample_MCSS = stack[rows_N[chosen]]
    else:
        stack, rows_M = View(view.pictures, view.indices[chosen], view.size, view.channels).resident
        sample_MCSS = stack[rows_M]
    values = torch.arange(256, dtype=torch.float64)
    mean, std = [], []
    for channel in range(view.channels):
        histogram = torch.bincount(sample_MCSS[:, channel].flatten(), minlength=256).double()
        average = (histogram @ values) / histogram.sum()
        variance = (histogram @ (values - average) ** 2) / histogram.sum()
        mean.append(float(average) / 255)
        std.append(max(float(variance.sqrt()), 1.0) / 255)  # a channel of one colour stays finite
    return Look(tuple(mean), tuple(std), flip)
