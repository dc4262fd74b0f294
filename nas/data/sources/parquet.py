"""`parquet:PATH`: a dataset in the layout of the Hugging Face hub.

Files `train-*.parquet`, `validation-*.parquet`, `test-*.parquet` in PATH or PATH/data, or named in another usual way
(nas/data/shards.py); of these only train must exist. One column holds the images, as struct {bytes, path} or as plain
bytes, one holds the labels (nas/data/columns.py). A split without rows, or whose labels are all -1 or empty (the hub's
way to publish a test split without labels), counts as absent.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nas.cache import cache_file
from nas.data.cache import file_state
from nas.data.columns import check_whole, classes_of, columns_of, damaged, indexed, labels_of, open_parquet
from nas.data.encoded import EncodedImages
from nas.data.registry import Raw, source
from nas.data.shards import find_shards, marks_in
from nas.data.unpacked import UnpackedImages, unpack
from nas.errors import DataError
from nas.heartbeat import beat

log = logging.getLogger(__name__)

IN_MEMORY_BYTES = 2**30  # encoded images up to this size are read at once; more are unpacked to the cache


@source("parquet:PATH")
def read(path: Path) -> Raw:
    shards, notes = find_shards(path)
    columns = columns_of(shards["train"][0])
    labels = labels_of(shards["train"], columns, trains=True)
    if labels is None:
        rows = sum(pq.read_metadata(file).num_rows for file in shards["train"])
        found = f"all {rows:,} labels are empty or -1" if rows else "no rows"
        raise DataError(f"{shards['train'][0].parent}: {found} in the training files")
    check_whole(labels, shards["train"], columns)
    classes, first, more = classes_of(labels, columns)
    notes += [*more, *([columns.note] if columns.note else [])]

    def pictures(split: str) -> ParquetImages | None:
        files = shards.get(split)
        found = labels_of(files, columns, trains=split == "train") if files else None
        if files and found is None:
            notes.append(f"left out the {split} files: they have no rows, or no labels")
        if not files or found is None:
            return None
        check_whole(found, files, columns)
        return ParquetImages(files, columns.image, indexed(found, classes, first, columns, files[0]))

    train, validation, test = (pictures(split) for split in ("train", "validation", "test"))
    assert train is not None  # it has labels
    origins = {split: files[0].name + (f" and {len(files) - 1} more" if len(files) > 1 else "")
               for split, files in shards.items()}  # fmt: skip
    name = f"parquet:{path}"
    return Raw(name, classes, train, validation, test, first=first, origins=origins, notes=tuple(notes))


class ParquetImages(EncodedImages):
    """The images of one split, in the order of its files and their rows."""

    def __init__(self, files: list[Path], image: str, labels_N: np.ndarray):
        super().__init__(labels_N)
        self.files, self.image = files, image
        self._unpacked: UnpackedImages | None = None

    def read(self, index: int) -> bytes:
        memory = self._in_memory
        blob = self._from_disk(index) if memory is None else memory[index].as_py()
        if not blob:
            raise DataError(f"no bytes in column {self.image!r}; expected an encoded image")
        return blob

    def sizes(self, indices_M: np.ndarray) -> np.ndarray:
        memory = self._in_memory
        if memory is None:
            sizes_N = np.diff((self._unpacked or self._unpack(0)).ends_N, prepend=0)
        else:
            sizes_N = pc.fill_null(pc.binary_length(memory), 0).to_numpy().astype(np.int64)
        sizes_M: np.ndarray = sizes_N[indices_M]
        return sizes_M

    def where(self, index: int) -> str:
        for file in self.files:
            rows = pq.read_metadata(file).num_rows
            if index < rows:
                return f"{file}: row {index}"
            index -= rows
        raise IndexError(index)

    def marks(self, indices: np.ndarray) -> list[Any]:
        return marks_in(self.files, indices)

    def state(self, indices: np.ndarray | None = None) -> list[Any]:
        return [self.image, *(file_state(file) for file in self.files)]

    @cached_property
    def _in_memory(self) -> pa.ChunkedArray | None:
        if sum(_unpacked_bytes(file, self.image) for file in self.files) > IN_MEMORY_BYTES:
            return None
        return pa.chunked_array(list(self._arrays()), pa.binary())

    def _from_disk(self, index: int) -> bytes:
        blob = None if self._unpacked is None else self._unpacked.read(index)
        if blob is None:
            blob = self._unpack(index).read(index)
        if blob is None:
            raise DataError("cannot be read where it was unpacked: the disk of the cache loses what is written there")
        return blob

    def _unpack(self, index: int) -> UnpackedImages:
        """The images in the cache, of which image `index` is intact."""
        path = cache_file(self.state(), ".encoded")
        if not path.exists():
            log.warning("unpacking %s to %s, once: it is too large for memory", self.files[0].parent, path)
        try:
            self._unpacked = unpack(path, len(self), index, self._blobs)
        except OSError as error:
            message = f"cannot unpack {self.files[0].parent} to {path.parent}: {error}; set XDG_CACHE_HOME"
            raise DataError(message) from None
        return self._unpacked

    def _blobs(self) -> Iterator[bytes]:
        """The encoded images in order; empty where there is none."""
        for array in self._arrays():
            yield from (blob or b"" for blob in array.to_pylist())

    def _arrays(self) -> Iterator[pa.Array]:
        for file in self.files:
            try:
                for batch in open_parquet(file).iter_batches(1024, columns=[self.image]):
                    beat()
                    column = batch.column(0)
                    column = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
                    yield column.cast(pa.binary())
            except (pa.ArrowException, OSError) as error:
                raise damaged(file, error) from None


def _unpacked_bytes(file: Path, column: str) -> int:
    metadata = pq.read_metadata(file)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(j) for group in groups for j in range(group.num_columns)]
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)
