"""A split too large to keep decoded: processes decode it, image by image, while it trains.

Legend: N images of the split, B of a batch, C channels, S side of the image, U uniform numbers.

    a process    decodes an image, and mirrors its own rectangle of it, resized to S×S
    this one     pads and erases whole batches on the device, as `Resident` does (augment.py); without a resized crop it
                 mirrors them as well, since padding comes first

With RandAugment and the like (policy.py), which follow padding and mirroring, a process does all but the erasing.

All comes from numbers that are drawn here, as `Resident` draws them, never from the process that happens to decode the
image: any number of processes gives the same batches. There are as many as torch has threads: a trial that was given
one core decodes in its own. Those of a training stay from epoch to epoch. Neither they nor this one keep an object, or
a row of random numbers, for each image (index.py, draws.py).

For training alone, a JPEG with more than twice the pixels that are needed is decoded at a half, a quarter or an eighth
of its size (PIL's draft mode). Evaluation and prediction decode every image fully.

Batches travel through /dev/shm. Where that is too small for them (a container has 64 MB unless told otherwise), they
are decoded in this process, instead of being lost with a bus error.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from nas.data.augment import Augment, crop_and_flip, draw, erase, mirrored, rectangle
from nas.data.draws import Rows, passed
from nas.data.policy import Policy, draw_seeds, policy_of
from nas.data.preprocess import Preprocess
from nas.data.split import Batches, Split, Subset
from nas.errors import DataError

log = logging.getLogger(__name__)

MAX_WORKERS = 16
SHARED = "/dev/shm"
Job = tuple[int, tuple[float, ...], int]  # an image by its index, its uniform numbers, and the seed of its policy


class Streaming(Split):
    """A split that is decoded anew in every epoch."""

    def __init__(self, subset: Subset, preprocess: Preprocess):
        super().__init__(subset, preprocess)
        self._kept: _Loader | None = None

    def _epoch(
        self,
        order_N: Tensor,
        places: Iterable[Tensor],
        batch_size: int,
        device: torch.device,
        generator: torch.Generator,
        augment: Augment | None,
    ) -> Batches:
        policy = policy_of(augment, self.subset.form, self.preprocess)
        draws, seeds = Rows(draw, generator), None
        if policy:
            seeds = Rows(draw_seeds, passed(len(self), draw, generator))
        under_way: deque[tuple[Tensor, Tensor]] = deque()  # places and draws of the batches that are being decoded

        def jobs() -> Iterator[list[Job]]:
            for places_B in places:
                draws_BU = draws(places_B)
                under_way.append((places_B, draws_BU))
                indices_B = self.subset.indices[order_N[places_B].numpy()].tolist()
                seeds_B = [0] * len(places_B) if seeds is None else seeds(places_B).tolist()
                yield list(zip(indices_B, map(tuple, draws_BU.tolist()), seeds_B, strict=True))

        normalise = self.preprocess.normaliser(device)
        rest = augment
        if augment is not None and (augment.min_area < 1 or policy):  # cropped and mirrored where it was decoded
            rest = augment.model_copy(update={"min_area": 1.0, "crop_padding": 0, "flip": False})
        for images_BCSS in self._decoded(jobs(), batch_size, device, augment, policy):
            places_B, draws_BU = under_way.popleft()
            images_BCSS = images_BCSS.to(device, non_blocking=True)
            labels_B = self.labels_N[order_N[places_B]].to(device, non_blocking=True)
            if rest is None:
                yield normalise(images_BCSS), labels_B
            else:
                draws_BU = draws_BU.to(device, non_blocking=True)
                images_BCSS = crop_and_flip(images_BCSS, draws_BU, rest, flip=self.subset.flip)
                yield erase(normalise(images_BCSS), draws_BU, rest.erase), labels_B

    def _decoded(
        self,
        jobs: Iterator[list[Job]],
        batch_size: int,
        device: torch.device,
        augment: Augment | None,
        policy: Policy | None,
    ) -> Iterator[Tensor]:
        batch_bytes = batch_size * self.subset.form.channels * self.subset.form.size**2
        key = (_workers(batch_bytes), device.type == "cuda", augment)
        loader, self._kept = self._kept, None  # another epoch at the same time makes its own
        if loader is None or loader.key != key:
            loader = _Loader(self.subset, *key, policy)
        yield from loader.epoch(jobs)
        if augment is not None:
            self._kept = loader


class _Batches:
    """The jobs of an epoch, which the loader takes as its batch sampler, some batches ahead."""

    jobs: Iterator[list[Job]]

    def __iter__(self) -> Iterator[list[Job]]:
        return self.jobs


class _Loader:
    """Torch's DataLoader, whose processes go on to the next epoch."""

    def __init__(self, subset: Subset, workers: int, pinned: bool, augment: Augment | None, policy: Policy | None):
        self.key = (workers, pinned, augment)
        self.batches = _Batches()
        self.loader: DataLoader[Tensor | DataError] = DataLoader(
            _Images(subset, augment, policy),
            batch_sampler=self.batches,
            num_workers=workers,
            persistent_workers=workers > 0 and augment is not None,
            collate_fn=_collate,
            pin_memory=pinned,
            generator=torch.Generator(),  # the loader draws a seed when it starts: not from the global stream
        )

    def epoch(self, jobs: Iterator[list[Job]]) -> Iterator[Tensor]:
        self.batches.jobs = jobs
        for batch in self.loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch


class _Images(Dataset[Tensor | DataError]):
    """What a process does with a job: an image, uint8 (C, S, S)."""

    def __init__(self, subset: Subset, augment: Augment | None, policy: Policy | None):
        self.subset, self.augment, self.policy = subset, augment, policy

    def __getitem__(self, job: Job) -> Tensor | DataError:
        index, draws_U, seed = job
        pictures, form, augment = self.subset.pictures, self.subset.form, self.augment
        try:
            if augment is None:
                return form.fit(pictures.original(index, form.channels))
            if augment.min_area == 1:
                image_CSS = form.fit(pictures.part(index, form.channels, lambda h, w: (0, 0, h, w), form.shorter_side))
                if self.policy is None:
                    return image_CSS
                draws_1U = torch.tensor([draws_U])
                image_CSS = crop_and_flip(image_CSS[None], draws_1U, augment, flip=self.subset.flip)[0]
            else:
                area = augment.min_area
                part = pictures.part(index, form.channels, lambda h, w: rectangle(h, w, draws_U, area), form.size)
                image_CSS = form.resized(part)
                if augment.flip and self.subset.flip and mirrored(draws_U):
                    image_CSS = image_CSS.flip(-1)
            return image_CSS if self.policy is None else self.policy(image_CSS[None], [seed])[0]
        except DataError as error:  # handed on as a value: raised in a worker, it would arrive wrapped in a traceback
            return error


def _collate(items: list[Tensor | DataError]) -> Tensor | DataError:
    return next((item for item in items if isinstance(item, DataError)), None) or default_collate(items)


def _workers(batch_bytes: int) -> int:
    """Processes that decode: none with one thread, and none where their batches would not fit into /dev/shm."""
    threads = torch.get_num_threads()
    workers = min(threads, MAX_WORKERS) if threads > 1 else 0
    needed, free = (2 * workers + 1) * batch_bytes, _free()  # two batches of each are under way, and one is in use
    if workers and needed > free:
        _warn_small(free, needed)
        return 0
    return workers


def _free() -> int:
    """Bytes that can be shared between processes."""
    try:
        state = os.statvfs(SHARED)
    except OSError:
        return 2**63
    return state.f_bavail * state.f_frsize


@cache
def _warn_small(free: int, needed: int) -> None:
    log.warning(
        "images are decoded in one process, which is slower: %s has %d MB free and %d MB are needed to share batches"
        " (for a container: --shm-size=%dm)", SHARED, free // 10**6, -(-needed // 10**6), -(-2 * needed // 2**20),
    )  # fmt: skip
