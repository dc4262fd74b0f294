"""`webdataset:PATH`: a dataset in uncompressed tar files, in the layout of webdataset (nas/data/tars.py).

Shards are known by their names (nas/data/shards.py): `train-0000.tar`, `imagenet1k-train-0000.tar`, `train/0000.tar`,
and others for validation and test. Nothing is unpacked: an image is read at its place in the shard.

Labels are 0 to K-1, or 1 to K if they are exactly these. `classes.txt` or `classnames.txt` beside the shards names the
classes, a line each, also as `n01440764 tench, Tinca tinca`. Validation or test without labels counts as absent.
"""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.cache import file_state
from nas.data.encoded import EncodedImages
from nas.data.imagenet import LINE, first_words, lines_of, names_of
from nas.data.pictures import UNKNOWN
from nas.data.registry import Raw, source
from nas.data.shards import find_shards, marks_in
from nas.data.tars import TarIndex, compressed, index_of, key_of, no_label
from nas.errors import DataError

PACKED = ("*.tar.*", "*.tgz", "*.tbz2", "*.txz")
NAMES = ("classes.txt", "classnames.txt")


@source("webdataset:PATH")
def read(path: Path) -> Raw:
    for pattern in PACKED:
        for file in sorted([*path.glob(pattern), *path.glob(f"*/{pattern}")]):
            if file.suffix in (".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".zst"):
                raise DataError(f"{file}: {compressed(file.suffix)}")
    shards, notes = find_shards(path, ".tar")
    splits = {split: TarImages(files, index_of(files)) for split, files in shards.items()}
    train = splits["train"]
    if not len(train):
        raise DataError(f"{shards['train'][0].parent}: no samples with images in the training files")
    if train.labels[0] == UNKNOWN:
        raise DataError(f"{train.where(0)}: {no_label(key_of(train.name(0)))}")
    for split in ("validation", "test"):
        if split in splits and not (splits[split].labels >= 0).any():
            notes.append(f"left out the {split} files: they have no images, or no labels")
            del splits[split]
    names = _names([shards["train"][0].parent, path], notes)
    classes, first = _classes(train, names, notes)
    for pictures in splits.values():
        wrong = np.flatnonzero((pictures.labels < first) | (pictures.labels >= first + len(classes)))
        if len(wrong):
            label, allowed = pictures.labels[wrong[0]], f"{first} to {first + len(classes) - 1}"
            raise DataError(f"{pictures.where(int(wrong[0]))}: label {label}; allowed: {allowed}")
        pictures.labels = pictures.labels - first
    origins = {split: files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
               for split, files in shards.items()}  # fmt: skip
    held = splits.get("validation"), splits.get("test")
    return Raw(f"webdataset:{path}", classes, train, *held, first=first, origins=origins, notes=tuple(notes))


class TarImages(EncodedImages):
    """The images of one split, in the order of its shards and their members."""

    def __init__(self, files: list[Path], index: TarIndex):
        super().__init__(index.labels_N)
        self.files = files
        self.ends_S, self.offsets_N, self.sizes_N = np.cumsum(index.counts_S), index.offsets_N, index.sizes_N

    def read(self, index: int) -> bytes:
        blob = self._piece(index, int(self.offsets_N[index]), int(self.sizes_N[index]))
        if len(blob) < self.sizes_N[index]:
            raise DataError(f"{len(blob)} of {self.sizes_N[index]} bytes are there: the shard was cut off while in use")
        return blob

    def sizes(self, indices_M: np.ndarray) -> np.ndarray:
        sizes_M: np.ndarray = self.sizes_N[indices_M]
        return sizes_M

    def where(self, index: int) -> str:
        return f"{self._file(index)}: {self.name(index)}"

    def name(self, index: int) -> str:
        """The member's name, from the header before its data."""
        offset = int(self.offsets_N[index])
        try:
            header = self._piece(index, offset - tarfile.BLOCKSIZE, tarfile.BLOCKSIZE)
            return tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").name
        except (DataError, tarfile.TarError):
            return f"the image at byte {offset}"

    def marks(self, indices: np.ndarray) -> list[Any]:
        return marks_in(self.files, indices)

    def state(self, indices: np.ndarray | None = None) -> list[Any]:
        return [file_state(file) for file in self.files]

    def _file(self, index: int) -> Path:
        return self.files[int(np.searchsorted(self.ends_S, index, side="right"))]

    def _piece(self, index: int, offset: int, size: int) -> bytes:
        """Opened for each image: processes and threads share no place in a file, and any number of shards will do."""
        try:
            with self._file(index).open("rb", buffering=0) as file:
                return os.pread(file.fileno(), size, offset)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}") from None


def _names(places: list[Path], notes: list[str]) -> tuple[str, ...] | None:
    """The names of the classes, if a file beside the shards has them."""
    file = next((place / name for place in places for name in NAMES if (place / name).is_file()), None)
    if file is None:
        return None
    notes.append(f"class names are from {file}")
    lines = lines_of(file)
    synsets = [match[1] for line in lines if (match := LINE.fullmatch(line))]
    return names_of(synsets, first_words(lines)) if len(synsets) == len(lines) else tuple(lines)


def _classes(train: TarImages, names: tuple[str, ...] | None, notes: list[str]) -> tuple[tuple[str, ...], int]:
    """(classes, the label of the first). Raises DataError for labels with gaps."""
    values = np.unique(train.labels)
    last = int(values[-1])
    first = int(values[0] == 1 and (len(values) if names is None else len(names)) == last)
    if first:
        notes.append(f"labels begin at 1: the classes are those of labels 1 to {last}")
    if names is not None:
        return names, first
    absent = np.flatnonzero(values != np.arange(first, first + len(values)))
    if len(absent):
        gap, beyond = first + int(absent[0]), int(values[absent[0]])
        where = train.where(int(np.flatnonzero(train.labels == beyond)[0]))
        message = f"label {beyond}, while no training image has label {gap}; expected 0 to K-1 without gaps"
        raise DataError(f"{where}: {message}, or a classes.txt beside the shards")
    return tuple(map(str, values.tolist())), first
