"""A dataset, split three ways and measured: what `load` returns and what training takes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from nas.data.copies import copies
from nas.data.preprocess import Preprocess
from nas.data.split import Resident, Split, Subset
from nas.data.streaming import Streaming

MARKED = 5_000  # images of a split by which it is known again: as many files are looked at
SAMPLE = 2048  # images from which mean and std are taken, evenly spaced over the training split


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Square images of `size`, with `channels` channels and labels that index `classes` (empty: they have no labels).

    `preprocess` is how they reach a model, the same for all three splits. `measured`: it is what the training split
    gives by itself. `flip`: a mirrored image keeps its class. Selection uses `validation`, which may be empty where
    nothing is selected; `test` is for the winners. origins: how each split came about. notes: what was left out, or
    read in a way that a user may not expect (nas/data/account.py).
    """

    name: str
    classes: tuple[str, ...]
    channels: int
    size: int
    train: Split
    validation: Split
    test: Split
    preprocess: Preprocess
    measured: bool
    flip: bool
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def streams(self) -> bool:
        """Whether files are read while it is trained on."""
        return any(isinstance(split, Streaming) for split in (self.train, self.validation))

    @cached_property
    def digest(self) -> str:
        """`digest_now` of the files as they were when it was first asked for."""
        return self.digest_now()

    def digest_now(self) -> str:
        """16 hex digits over classes, labels and images: their `marks`, at most MARKED in each split."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for split in (self.train, self.validation, self.test):
            digest.update(split.labels_N.numpy().tobytes())
            marked = split.spread(MARKED).subset
            digest.update(json.dumps(marked.pictures.marks(marked.indices)).encode())
        return digest.hexdigest()[:16]

    @cached_property
    def copies(self) -> list[str]:
        """What is held out and trained on as well, a sentence for each split (nas/data/copies.py); looked for once."""
        return copies(self.train.subset, {"validation": self.validation.subset, "test": self.test.subset})


def make_split(subset: Subset, preprocess: Preprocess, resident_bytes: int) -> Split:
    """Resident where the decoded images fit into `resident_bytes`, streaming where they do not."""
    return Resident(subset, preprocess) if subset.nbytes <= resident_bytes else Streaming(subset, preprocess)


def measure(subset: Subset, resident_bytes: int) -> Preprocess:
    """Mean and standard deviation per channel, from integer histograms: exact, whatever the number of threads."""
    chosen = np.linspace(0, len(subset.indices) - 1, min(SAMPLE, len(subset.indices))).astype(np.int64)
    if subset.nbytes <= resident_bytes:
        stack, rows_N = subset.resident
        sample_MCSS = stack[rows_N[chosen]]
    else:
        stack, rows_M = replace(subset, indices=subset.indices[chosen]).resident
        sample_MCSS = stack[rows_M]
    values = torch.arange(256, dtype=torch.float64)
    mean, std = [], []
    for channel in range(subset.form.channels):
        histogram = torch.bincount(sample_MCSS[:, channel].flatten(), minlength=256).double()
        average = (histogram @ values) / histogram.sum()
        variance = (histogram @ (values - average) ** 2) / histogram.sum()
        mean.append(float(average) / 255)
        std.append(max(float(variance.sqrt()), 1.0) / 255)  # a channel of one colour stays finite
    return Preprocess(mean=tuple(mean), std=tuple(std))
