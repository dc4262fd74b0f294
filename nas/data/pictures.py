"""The images of one official split, as the source has them: decoded arrays, or encoded files that are read on demand.

Legend: N images of the split, M of them asked for, C channels, H height, W width, S the side that the model takes.

Everything downstream sees square uint8 images of side S, made by `Form.fit` on every path alike.
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.data.pixels import Choose
from nas.data.preprocess import Interpolation
from nas.data.samples import some_of

UNKNOWN = -1  # the label of an image that has none
STRIP = 8  # an image that is so many times as long as wide is cut before it is resized


@dataclass(frozen=True)
class Form:
    """The form in which a model takes images: its side and channels, and how other sizes are brought to that side."""

    size: int
    channels: int
    interpolation: Interpolation = "bilinear"
    crop: float = 1.0

    @property
    def shorter_side(self) -> int:
        """To which an image is resized before it is cropped."""
        return math.floor(self.size / self.crop)

    def resized(self, images: Tensor) -> Tensor:
        """`images` (..., C, H, W) as (..., C, S, S), whatever their shape."""
        from torchvision.transforms.v2 import InterpolationMode, functional

        way = InterpolationMode(self.interpolation)
        resized: Tensor = functional.resize(images, [self.size, self.size], way)
        return resized

    def fit(self, images: Tensor) -> Tensor:
        """`images` (..., C, H, W) resized on the shorter side and cropped at the centre: (..., C, S, S).

        Of a long strip only the middle is resized: 2×12000 pixels would become 224×1,344,000.
        """
        if self.crop == 1 and images.shape[-2:] == (self.size, self.size):
            return images
        from torchvision.transforms.v2 import InterpolationMode, functional

        way = InterpolationMode(self.interpolation)
        resized = functional.resize(_middle(images), [self.shorter_side], way)
        fitted: Tensor = functional.center_crop(resized, [self.size, self.size])
        return fitted


def _middle(images: Tensor) -> Tensor:
    """`images` (..., H, W); of a strip, the middle of 4 or 5 times its width, whichever has the same centre."""
    short, long = sorted(images.shape[-2:])
    if long <= STRIP * short:
        return images
    length = next((times * short for times in (4, 5) if (long - times * short) % 2 == 0), 4 * short)
    return images.narrow(-1 if images.shape[-1] == long else -2, (long - length) // 2, length)


class Pictures(ABC):
    """N images with their labels. `labels` (N,) is int64; images come as uint8.

    note: what `survey` has found that a user should know.
    """

    labels: np.ndarray
    note: str | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def survey(self) -> tuple[int, set[tuple[int, int]]]:
        """(channels, the sizes (H, W) that occur), from the whole set or an even sample of it."""

    @abstractmethod
    def original(self, index: int, channels: int) -> Tensor:
        """Image `index` in its own size: uint8 (C, H, W)."""

    def part(self, index: int, channels: int, choose: Choose, least: int) -> Tensor:
        """The rectangle of image `index` that `choose` names for its size: uint8 (C, H, W).

        It may have fewer pixels than the image has there, but not fewer than `least` on a side for that.
        """
        image_CHW = self.original(index, channels)
        top, left, height, width = choose(*image_CHW.shape[-2:])
        return image_CHW[:, top : top + height, left : left + width]

    def marks(self, indices: np.ndarray) -> list[Any]:
        """What shows that these images are still the same, on any machine: their places, unless more is known."""
        return list(indices.tolist())

    @abstractmethod
    def resident(self, indices_M: np.ndarray, form: Form) -> tuple[Tensor, np.ndarray]:
        """The asked images in memory, as (stack, rows_M): image m is `stack[rows_M[m]]`, uint8 (C, S, S).

        The stack may hold more than was asked for: several splits, and several processes, then share one copy.
        """


@dataclass(frozen=True, eq=False)
class Arrays(Pictures):
    """Images that are decoded already and of one size: uint8 (N, C, H, W)."""

    images: Tensor
    labels: np.ndarray

    def marks(self, indices: np.ndarray) -> list[Any]:
        """Places; of some, pixels."""
        some = self.images[torch.from_numpy(some_of(indices))].contiguous()
        return [*indices.tolist(), hashlib.sha256(some.numpy().tobytes()).hexdigest()[:16]]

    def survey(self) -> tuple[int, set[tuple[int, int]]]:
        _, channels, height, width = self.images.shape
        return channels, {(height, width)}

    def original(self, index: int, channels: int) -> Tensor:
        return self.images[index]

    def resident(self, indices_M: np.ndarray, form: Form) -> tuple[Tensor, np.ndarray]:
        if form.crop == 1 and self.images.shape[-2:] == (form.size, form.size):
            return self.images, indices_M
        return form.fit(self.images[torch.from_numpy(indices_M)]), np.arange(len(indices_M))


class Concatenated(Pictures):
    """Two splits as one: official train and validation images, where nothing is held back for validation."""

    def __init__(self, first: Pictures, second: Pictures):
        self.first, self.second = first, second
        self.labels = np.concatenate([first.labels, second.labels])

    def survey(self) -> tuple[int, set[tuple[int, int]]]:
        return self.first.survey()

    def original(self, index: int, channels: int) -> Tensor:
        border = len(self.first)
        part, index = (self.first, index) if index < border else (self.second, index - border)
        return part.original(index, channels)

    def part(self, index: int, channels: int, choose: Choose, least: int) -> Tensor:
        border = len(self.first)
        part, index = (self.first, index) if index < border else (self.second, index - border)
        return part.part(index, channels, choose, least)

    def marks(self, indices: np.ndarray) -> list[Any]:
        border = len(self.first)
        ours = indices < border
        return [*self.first.marks(indices[ours]), *self.second.marks(indices[~ours] - border)]

    def resident(self, indices_M: np.ndarray, form: Form) -> tuple[Tensor, np.ndarray]:
        border = len(self.first)
        ours = indices_M < border
        stack, rows = self.first.resident(indices_M[ours], form)
        other, other_rows = self.second.resident(indices_M[~ours] - border, form)
        rows_M = np.empty(len(indices_M), dtype=np.int64)
        rows_M[ours], rows_M[~ours] = np.arange(len(rows)), len(rows) + np.arange(len(other_rows))
        return torch.cat([stack[torch.from_numpy(rows)], other[torch.from_numpy(other_rows)]]), rows_M


class Relabelled(Pictures):
    """The same images with other labels."""

    def __init__(self, pictures: Pictures, labels_N: np.ndarray):
        self.pictures, self.labels = pictures, labels_N

    def survey(self) -> tuple[int, set[tuple[int, int]]]:
        return self.pictures.survey()

    def original(self, index: int, channels: int) -> Tensor:
        return self.pictures.original(index, channels)

    def part(self, index: int, channels: int, choose: Choose, least: int) -> Tensor:
        return self.pictures.part(index, channels, choose, least)

    def marks(self, indices: np.ndarray) -> list[Any]:
        return self.pictures.marks(indices)

    def resident(self, indices_M: np.ndarray, form: Form) -> tuple[Tensor, np.ndarray]:
        return self.pictures.resident(indices_M, form)
