"""Images that lie encoded (JPEG, PNG, ...) in files or columns, and are decoded when they are asked for.

Legend: N images of the split, M of them asked for, C channels, S side of the image.

An image is decoded (pixels.py) once per machine (cache.py). If half of a split or more is asked for, all of it is
decoded, and train and validation share it; a smaller part, as `limit` makes it, has a cache file of its own.

What a file may do to the process is bounded: formats are named, an image of more than `max_pixels` is refused when its
header is read, and whatever PIL raises about damage is a DataError that names the file.
"""

from __future__ import annotations

import io
import re
import warnings
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from nas.cache import cache_file
from nas.data.cache import DecodedImages, file_state, keep
from nas.data.index import Paths
from nas.data.pictures import Form, Pictures
from nas.data.pixels import Choose, is_grey, pixels_of, upright_size
from nas.data.samples import sample_of, size_of, some_of
from nas.errors import DataError
from nas.files import regular
from nas.heartbeat import beat

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM", "TIFF")  # tried in this order; naming them halves the search
MAX_PIXELS = 89_478_485  # where PIL begins to warn: 256 MiB of RGB, and about 1.2 GB while it is decoded
SURVEYED = 64  # images whose header says channels and size of the set
GREY_SURVEYED = 20_000  # images whose header is read, where those are all grey: colour would be lost without a word
THREADED_BYTES = 16_384  # below this, an image is decoded too quickly for threads to pay
SMALL_PART = 20  # for less than one image in so many, looking at all files for the cache costs more than decoding
REDUCTIONS = (8, 4, 2, 1)  # at which libjpeg can decode
VERSION = 3  # of what a cached array holds; to be raised when decoding or fitting changes

_opening = Lock()


def decode(blob: bytes, channels: int, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Encoded bytes as uint8 (C, H, W), C being 1 (grey) or 3 (RGB).

    Raises DataError where they cannot be read, have more than `max_pixels` pixels or none, or are an animation.
    """
    with _opened(blob, max_pixels) as image:
        return pixels_of(image, channels)


@contextmanager
def _opened(blob: bytes, max_pixels: int) -> Iterator[Image.Image]:
    """One still image whose header is read; what goes wrong then and later is a DataError."""
    try:
        with _open(blob, max_pixels) as image:
            if not image.width * image.height:
                raise DataError(f"an image without pixels ({image.width}×{image.height})")
            # A photograph (MPO) may carry a preview or a depth map behind its picture.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise DataError(f"{image.n_frames} frames ({image.format}); expected a still image")  # type: ignore[attr-defined]
            yield image
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DataError(
            f"not an image that can be read ({len(blob)} bytes); expected one of {', '.join(FORMATS)}"
        ) from None
    except Image.DecompressionBombError as error:
        pixels = re.findall(r"\d+", str(error))[0]
        message = f"an image of {int(pixels):,} pixels; at most {max_pixels:,} are decoded"
        keys = f"max_pixels: {pixels} in a space or an ablation, --max-pixels of `nas train` and `nas predict`"
        raise DataError(f"{message}; make it smaller, or allow more ({keys})") from None
    except Exception as error:  # PIL's parsers meet damage with errors of many classes
        raise DataError(f"a damaged image: {error or type(error).__name__}") from None


def _open(blob: bytes, max_pixels: int) -> Image.Image:
    """PIL's `open` with a limit of our own.

    PIL's limit is one of the process, raises at twice its value, and is checked in here, before anything is allocated.
    """
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels / 2  # type: ignore[assignment]
        try:
            return Image.open(io.BytesIO(blob), formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = before


class EncodedImages(Pictures):
    """N encoded images; a subclass says how one is read and what it is called."""

    max_pixels = MAX_PIXELS  # of an image; `load` sets it

    def __init__(self, labels_N: np.ndarray):
        self.labels = labels_N
        self._decoded: dict[Path, DecodedImages] = {}  # the whole split, by form: train and validation share it

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The encoded image."""

    @abstractmethod
    def sizes(self, indices_M: np.ndarray) -> np.ndarray:
        """Bytes of these encoded images, int64 (M,), without reading them."""

    @abstractmethod
    def where(self, index: int) -> str:
        """The image's name for messages, such as its file."""

    @abstractmethod
    def state(self, indices: np.ndarray | None = None) -> list[Any]:
        """What the images depend on, such as each file with its size and time of change; JSON can hold it.

        indices: of the images that matter; None: all.
        """

    def survey(self) -> tuple[int, set[tuple[int, int]]]:
        coloured, sizes = [], set()
        for image in self._headers(SURVEYED):
            coloured.append(not is_grey(image))
            sizes.add(upright_size(image))
        if not any(coloured):
            coloured = [not is_grey(image) for image in self._headers(GREY_SURVEYED)]
        if 0 < 2 * sum(coloured) < len(coloured):
            found = f"{sum(coloured)} of {len(coloured)} images looked at have colour"
            self.note = f"{found}, the others are grey: all are read as RGB"
        return 3 if any(coloured) else 1, sizes

    def _headers(self, count: int) -> Iterator[Image.Image]:
        """The images, opened but not decoded: `count` of them at most, evenly spaced."""
        for index in np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(np.int64)).tolist():
            beat()
            with self._named(index), _opened(self.read(index), self.max_pixels) as image:
                yield image

    def original(self, index: int, channels: int) -> Tensor:
        with self._named(index):
            return decode(self.read(index), channels, self.max_pixels)

    def part(self, index: int, channels: int, choose: Choose, least: int) -> Tensor:
        """A JPEG is decoded at a half, a quarter or an eighth of its size where that leaves `least` pixels a side."""
        with self._named(index), _opened(self.read(index), self.max_pixels) as image:
            height, width = upright_size(image)
            rows, columns = choose(height, width)[2:]
            reduction = next(times for times in REDUCTIONS if times * least <= min(rows, columns) or times == 1)
            if reduction > 1:
                image.draft(None, (image.width // reduction, image.height // reduction))
            return pixels_of(image, channels, choose)

    @contextmanager
    def _named(self, index: int) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise error.within(self.where(index)) from None

    def resident(self, indices_M: np.ndarray, form: Form) -> tuple[Tensor, np.ndarray]:
        key, shape = [VERSION, *astuple(form)], (form.channels, form.size, form.size)
        if SMALL_PART * len(indices_M) >= len(self):
            path, every_N = cache_file([*key, self.state()], ".images"), np.arange(len(self))
            whole = self._decoded.get(path) or DecodedImages.open(path, (len(self), *shape))
            if whole is None or not whole.intact(indices_M):
                whole = None
                if 2 * len(indices_M) >= len(self):
                    whole = keep(path, (len(self), *shape), indices_M, lambda: self._stack(every_N, form))
            if whole is not None:
                self._decoded[path] = whole
                return whole.images, indices_M
        part, rows_M = (
            cache_file([*key, self.state(indices_M), indices_M.tolist()], ".images"),
            np.arange(len(indices_M)),
        )
        kept = keep(part, (len(indices_M), *shape), rows_M, lambda: self._stack(indices_M, form))
        return kept.images, rows_M

    def _stack(self, indices_M: np.ndarray, form: Form) -> Tensor:
        """The asked images, decoded and fitted: uint8 (M, C, S, S)."""
        stack_MCSS = torch.empty(len(indices_M), form.channels, form.size, form.size, dtype=torch.uint8)

        def place(m: int) -> None:
            stack_MCSS[m] = form.fit(self.original(int(indices_M[m]), form.channels))

        threads = torch.get_num_threads()
        if threads > 1 and len(indices_M) and len(self.read(int(indices_M[0]))) > THREADED_BYTES:
            with ThreadPoolExecutor(threads) as pool:
                for _ in pool.map(place, range(len(indices_M))):
                    beat()
        else:
            for m in range(len(indices_M)):
                place(m)
                beat()
        return stack_MCSS


class ImageFiles(EncodedImages):
    """One file per image."""

    def __init__(self, paths: Paths, labels_N: np.ndarray):
        super().__init__(labels_N)
        self.paths = paths

    def read(self, index: int) -> bytes:
        try:
            return regular(self.paths[index]).read_bytes()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}") from None

    def sizes(self, indices_M: np.ndarray) -> np.ndarray:
        def size(index: int) -> int:
            beat()
            return size_of(self.paths[index])

        return np.fromiter(map(size, indices_M), np.int64, len(indices_M))

    def where(self, index: int) -> str:
        return str(self.paths[index])

    def state(self, indices: np.ndarray | None = None) -> list[Any]:
        return [file_state(self.paths[i]) for i in (range(len(self)) if indices is None else indices)]

    def marks(self, indices: np.ndarray) -> list[Any]:
        """Names without their folders, and sizes; of some, bytes. A copy has them all, and another time of change."""
        names = (self.paths[index].name for index in indices)
        samples = (sample_of(self.paths[index], 1) for index in some_of(indices))
        return [*zip(names, self.sizes(indices).tolist(), strict=True), *samples]
