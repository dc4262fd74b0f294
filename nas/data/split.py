"""One split as the training loop sees it: labels, a length, and batches of normalised images on a device.

Legend: N images of the split, B of a batch, C channels, S side of the image.

There are two implementations. `Resident` keeps the uint8 images on the device and augments whole batches there, so that
a small model never waits for images. `Streaming` (streaming.py) decodes while it trains, for sets that do not fit. The
seed alone decides order and augmentation, and nothing is carried from one epoch to the next: a training that resumes at
epoch e with the seed of epoch e sees what the uninterrupted one saw.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nas.data.augment import Augment, crop_and_flip, draw, erase
from nas.data.pictures import Form, Pictures
from nas.data.policy import draw_seeds, policy_of
from nas.data.preprocess import Preprocess

Batches = Iterator[tuple[Tensor, Tensor]]
Sharing = Callable[[Iterable[Tensor]], Iterable[Tensor]]
"""What one of several processes takes of the batches of an epoch, each given as its places in the order (B,)."""


@dataclass(frozen=True, eq=False)
class Subset:
    """Some images of a source (by index), and the form in which they are wanted.

    flip: augmentation may mirror an image, since it keeps its class then.
    """

    pictures: Pictures
    indices: np.ndarray
    form: Form
    flip: bool

    @property
    def nbytes(self) -> int:
        """Size of the images, decoded."""
        return len(self.indices) * self.form.channels * self.form.size**2

    @cached_property
    def resident(self) -> tuple[Tensor, Tensor]:
        """(stack, rows_N) in the CPU's memory: image n is `stack[rows_N[n]]`, uint8 (C, S, S). Decoded on first use."""
        stack, rows = self.pictures.resident(self.indices, self.form)
        return stack, torch.from_numpy(rows)


class Split(ABC):
    """The images of one split. `labels_N` is int64 on the CPU, in file order.

    >>> from nas.data import load
    >>> split = load("digits").validation
    >>> sum(len(labels_B) for _, labels_B in split.batches(100)) == len(split)
    True
    """

    def __init__(self, subset: Subset, preprocess: Preprocess):
        self.subset, self.preprocess = subset, preprocess
        self.labels_N = torch.from_numpy(subset.pictures.labels[subset.indices])

    def __len__(self) -> int:
        return len(self.labels_N)

    def only(self, places: np.ndarray | slice) -> Split:
        """The images at these places of the split, as a split of the same kind."""
        return type(self)(replace(self.subset, indices=self.subset.indices[places]), self.preprocess)

    def spread(self, count: int) -> Split:
        """At most `count` of the images, evenly spaced in file order."""
        return self.only(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64))

    def batch_count(self, batch_size: int, *, drop_last: bool = False) -> int:
        """How many batches an epoch has."""
        return max(len(self) // batch_size, 1) if drop_last else -(-len(self) // batch_size)

    def batches(
        self,
        batch_size: int,
        *,
        device: torch.device | str = "cpu",
        seed: int | None = None,
        augment: Augment | None = None,
        drop_last: bool = False,
        sharing: Sharing | None = None,
        skip: int = 0,
    ) -> Batches:
        """One epoch: pairs (images (B, C, S, S) float32 normalised, labels (B,) int64), both on `device`.

        seed: None gives file order; else permutation and augmentation depend on this number alone. `augment` needs one.
        drop_last: leaves out the incomplete last batch, unless it is the only one. sharing: the part of one process,
        whose images are what they are in a process alone; only they are decoded. skip: batches that were seen before.
        """
        if augment is not None and seed is None:
            raise ValueError("augmentation is random: give a seed")
        count = self.batch_count(batch_size, drop_last=drop_last)
        shown = min(count * batch_size, len(self))
        generator = torch.Generator().manual_seed(0 if seed is None else seed)
        order_N = torch.arange(len(self)) if seed is None else torch.randperm(len(self), generator=generator)
        if augment is not None and augment.repeats > 1:  # timm's RepeatAugSampler in one process, selected_round=0
            order_N = order_N[: -(-shown // augment.repeats)].repeat_interleave(augment.repeats)
        starts = range(skip * batch_size, shown, batch_size)
        places: Iterable[Tensor] = (torch.arange(start, min(start + batch_size, shown)) for start in starts)
        places = sharing(places) if sharing is not None else places
        return self._epoch(order_N[:shown], places, batch_size, torch.device(device), generator, augment)

    @abstractmethod
    def _epoch(
        self,
        order_N: Tensor,
        places: Iterable[Tensor],
        batch_size: int,
        device: torch.device,
        generator: torch.Generator,
        augment: Augment | None,
    ) -> Batches: ...


class Resident(Split):
    """A split that lives on the device as one uint8 tensor; decoded when it is first asked for."""

    def __init__(self, subset: Subset, preprocess: Preprocess):
        super().__init__(subset, preprocess)
        self._copies: dict[torch.device, tuple[Tensor, Tensor, Tensor]] = {}

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """(stack, rows_N, labels_N) on `device`; image n is `stack[rows_N[n]]`. The CPU's stack may be a memory map."""
        if device not in self._copies:  # an epoch copies nothing to the device but its order and its draws
            stack, rows_N = self.subset.resident
            if device.type != "cpu":
                stack, rows_N = stack[rows_N].to(device), torch.arange(len(self), device=device)
            self._copies[device] = stack, rows_N, self.labels_N.to(device)
        return self._copies[device]

    def _epoch(
        self,
        order_N: Tensor,
        places: Iterable[Tensor],
        batch_size: int,
        device: torch.device,
        generator: torch.Generator,
        augment: Augment | None,
    ) -> Batches:
        stack, rows_N, labels_N = self.on(device)
        draws_NU = draw(len(self), generator).to(device) if augment else None
        policy = policy_of(augment, self.subset.form, self.preprocess)
        seeds_N = draw_seeds(len(self), generator) if policy else None
        normalise = self.preprocess.normaliser(device)
        order_N = order_N.to(device)
        for places_B in places:
            picked_B = order_N[places_B]
            images_BCSS = stack[rows_N[picked_B]]
            if augment is None or draws_NU is None:
                yield normalise(images_BCSS), labels_N[picked_B]
                continue
            draws_BU = draws_NU[places_B]
            images_BCSS = crop_and_flip(images_BCSS, draws_BU, augment, flip=self.subset.flip)
            if policy is not None and seeds_N is not None:
                images_BCSS = policy(images_BCSS, seeds_N[places_B].tolist())
            yield erase(normalise(images_BCSS), draws_BU, augment.erase), labels_N[picked_B]
