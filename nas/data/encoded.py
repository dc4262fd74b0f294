"""Images that lie encoded (JPEG, PNG, ...) in files or columns, and are decoded when they are asked for.

Legend: N images of the split, M of them asked for, C channels, S side of the image.

PIL decodes: torchvision's own decoder is faster on small images, and to be removed from torchvision. What is asked for
is decoded once per machine (cache.py). If that is half of a split or more, all of it is, so that train and validation
share it; a smaller part, as `limit` makes it, is decoded and kept alone.
"""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from nas.cache import cache_file
from nas.data.cache import file_state, keep, stored
from nas.data.pictures import Pictures, fit
from nas.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF")  # tried in this order; naming them halves the search
SURVEYED = 64  # images whose header says channels and size of the set
THREADED_BYTES = 16_384  # below this, an image is decoded too quickly for threads to pay
WORTH_A_LOOK = 20  # a smaller part of the set is decoded before all its files could be looked at for the cache
VERSION = 1  # of what a cached array holds; to be raised when decoding or fitting changes


def decode(blob: bytes, channels: int) -> Tensor:
    """Encoded bytes as uint8 (C, H, W), C being 1 (grey) or 3 (RGB). Raises DataError where they cannot be read."""
    wanted = "L" if channels == 1 else "RGB"
    with _opened(blob) as opened:
        if opened.mode in ("I", "F") or opened.mode.startswith("I;"):
            raise DataError("an image with more than 8 bits per channel; convert it to 8 bits")
        pixels = np.array(opened if opened.mode == wanted else opened.convert(wanted))
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], channels)).permute(2, 0, 1)


@contextmanager
def _opened(blob: bytes) -> Iterator[Image.Image]:
    """An image whose header is read; what goes wrong then and later is a DataError."""
    try:
        with Image.open(io.BytesIO(blob), formats=FORMATS) as image:
            yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"not an image that can be read ({len(blob)} bytes); expected one of {', '.join(FORMATS)}"
        ) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"a damaged image: {error}") from None


class Encoded(Pictures):
    """N encoded images; a subclass says how one is read and what it is called."""

    def __init__(self, labels_N: np.ndarray):
        self.labels = labels_N
        self._decoded: dict[Path, Tensor] = {}  # the whole split, by form: train and validation share it

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The encoded image."""

    @abstractmethod
    def where(self, index: int) -> str:
        """The image's name for messages, such as its file."""

    @abstractmethod
    def state(self, indices: np.ndarray | None = None) -> list[Any]:
        """What the images depend on, such as each file with its size and time of change; JSON can hold it.

        indices: of the images that matter; None: all.
        """

    def survey(self) -> tuple[int, set[tuple[int, int]]]:
        grey, sizes = True, set()
        for index in np.unique(np.linspace(0, len(self) - 1, SURVEYED).astype(np.int64)):
            with self._named(int(index)), _opened(self.read(int(index))) as image:
                grey = grey and image.mode in ("1", "L", "LA")
                sizes.add((image.height, image.width))
        return 1 if grey else 3, sizes

    def original(self, index: int, channels: int) -> Tensor:
        with self._named(index):
            return decode(self.read(index), channels)

    @contextmanager
    def _named(self, index: int) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise error.within(self.where(index)) from None

    def resident(self, indices_M: np.ndarray, size: int, channels: int) -> tuple[Tensor, np.ndarray]:
        form = [VERSION, size, channels]
        if WORTH_A_LOOK * len(indices_M) >= len(self):
            path = cache_file([*form, self.state()], ".npy")
            if path not in self._decoded and 2 * len(indices_M) >= len(self):
                self._decoded[path] = keep(path, lambda: self._stack(np.arange(len(self)), size, channels))
            whole = self._decoded.get(path, stored(path))
            if whole is not None:
                return whole, indices_M
        part = cache_file([*form, self.state(indices_M), indices_M.tolist()], ".npy")
        return keep(part, lambda: self._stack(indices_M, size, channels)), np.arange(len(indices_M))

    def _stack(self, indices_M: np.ndarray, size: int, channels: int) -> Tensor:
        """The asked images, decoded and fitted: uint8 (M, C, S, S)."""
        stack_MCSS = torch.empty(len(indices_M), channels, size, size, dtype=torch.uint8)

        def place(m: int) -> None:
            stack_MCSS[m] = fit(self.original(int(indices_M[m]), channels), size)

        threads = torch.get_num_threads()
        if threads > 1 and len(indices_M) and len(self.read(int(indices_M[0]))) > THREADED_BYTES:
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(place, range(len(indices_M))):
                    pass
        else:
            for m in range(len(indices_M)):
                place(m)
        return stack_MCSS


class Files(Encoded):
    """One file per image."""

    def __init__(self, paths: Sequence[Path], labels_N: np.ndarray):
        super().__init__(labels_N)
        self.paths = list(paths)

    def read(self, index: int) -> bytes:
        try:
            return self.paths[index].read_bytes()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}") from None

    def where(self, index: int) -> str:
        return str(self.paths[index])

    def state(self, indices: np.ndarray | None = None) -> list[Any]:
        return [file_state(self.paths[i]) for i in (range(len(self)) if indices is None else indices)]
