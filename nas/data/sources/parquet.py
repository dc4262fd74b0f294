"""`parquet:PATH`: a dataset in the layout of the Hugging Face hub.

Files `train-*.parquet`, `validation-*.parquet`, `test-*.parquet` in PATH or PATH/data; of these only train must exist.
One column holds the images, as struct {bytes, path} or as plain bytes, one holds the labels, as integers. The schema's
"huggingface" metadata, where there is any, says which columns these are and how the classes are called; without it the
only column of each type is taken, and classes are called by their number. A split whose labels are all -1 (the hub's
way to publish a test split without labels) counts as absent.
"""

from __future__ import annotations

import json
import logging
import re
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
from nas.data.encoded import EncodedImages
from nas.data.registry import Raw, source
from nas.data.unpacked import UnpackedImages, unpack
from nas.errors import DataError
from nas.heartbeat import beat

log = logging.getLogger(__name__)

IN_MEMORY_BYTES = 2**30  # encoded images up to this size are read at once; more are unpacked to the cache
LABELS = ("label", "labels", "fine_label", "class", "target")  # by preference, where several columns could be the label
IMAGES = ("image", "img")


@source("parquet:PATH")
def read(path: Path) -> Raw:
    folder = path if any(path.glob("train*.parquet")) else path / "data"
    train = _files(folder, "train")
    if not train:
        raise DataError(f"{path}: no train-*.parquet here or in data/; expected the layout of the Hugging Face hub")
    schema = _open(train[0]).schema_arrow
    features = _features(schema)
    image, label = _image_column(schema, features, train[0]), _label_column(schema, features, train[0])

    def split(name: str) -> ParquetImages | None:
        files = _files(folder, name)
        pictures = ParquetImages(files, image, label) if files else None
        return None if pictures is None or (pictures.labels == -1).all() else pictures

    pictures = ParquetImages(train, image, label)
    count = min(int(pictures.labels.max(initial=0)) + 1, len(pictures))  # a stray huge label is out of range, later
    classes = tuple(str(name) for name in features.get(label, {}).get("names") or range(count))
    return Raw(f"parquet:{path}", classes, pictures, split("validation"), split("test"))


class ParquetImages(EncodedImages):
    """The images of one split, in the order of its files and their rows."""

    def __init__(self, files: list[Path], image: str, label: str):
        super().__init__(np.concatenate([_labels(file, image, label) for file in files]))
        self.files, self.image = files, image
        self._unpacked: UnpackedImages | None = None

    def read(self, index: int) -> bytes:
        memory = self._in_memory
        blob = self._from_disk(index) if memory is None else memory[index].as_py()
        if not blob:
            raise DataError(f"no bytes in column {self.image!r}; expected an encoded image")
        return blob

    def where(self, index: int) -> str:
        for file in self.files:
            rows = pq.read_metadata(file).num_rows
            if index < rows:
                return f"{file}: row {index}"
            index -= rows
        raise IndexError(index)

    def state(self, indices: np.ndarray | None = None) -> list[Any]:
        return [self.image, *(file_state(file) for file in self.files)]

    @cached_property
    def _in_memory(self) -> pa.ChunkedArray | None:
        if sum(_unpacked_bytes(file, self.image) for file in self.files) > IN_MEMORY_BYTES:
            return None
        return pa.chunked_array(list(self._arrays()), pa.binary())

    def _from_disk(self, index: int) -> bytes:
        if self._unpacked is None or (blob := self._unpacked.read(index)) is None:
            path = cache_file(self.state(), ".encoded")
            if not path.exists():
                log.warning("unpacking %s to %s, once: it is too large for memory", self.files[0].parent, path)
            try:
                self._unpacked = unpack(path, len(self), index, self._blobs)
            except OSError as error:
                message = f"cannot unpack {self.files[0].parent} to {path.parent}: {error}; set XDG_CACHE_HOME"
                raise DataError(message) from None
            blob = self._unpacked.read(index)
        if blob is None:
            raise DataError(f"cannot be read from {self._unpacked.path}: its disk loses what is written there")
        return blob

    def _blobs(self) -> Iterator[bytes]:
        """The encoded images in order; empty where there is none."""
        for array in self._arrays():
            yield from (blob or b"" for blob in array.to_pylist())

    def _arrays(self) -> Iterator[pa.Array]:
        for file in self.files:
            try:
                for batch in _open(file).iter_batches(1024, columns=[self.image]):
                    beat()
                    column = batch.column(0)
                    column = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
                    yield column.cast(pa.binary())
            except (pa.ArrowException, OSError) as error:
                raise _damaged(file, error) from None


def _files(folder: Path, split: str) -> list[Path]:
    """The files of a split; a set of shards (`train-00000-of-00002.parquet`) must be complete."""
    files = sorted({*folder.glob(f"{split}-*.parquet"), *folder.glob(f"{split}.parquet")})
    counts = [int(match[1]) for file in files if (match := re.search(r"-of-(\d+)\.parquet$", file.name))]
    if counts and len(counts) != max(counts):
        name = f"{split}-*-of-{max(counts):05d}.parquet"
        raise DataError(f"{folder}: {len(counts)} of the {max(counts)} files {name} are here")
    return files


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None


def _damaged(file: Path, error: Exception) -> DataError:
    return DataError(f"not readable as parquet: {str(error).partition(chr(10))[0]}", file=file)


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """The hub's description of the columns: {"label": {"_type": "ClassLabel", "names": [...]}, ...}, or {}."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return {name: feature for name, feature in features.items() if isinstance(feature, dict)}


def _image_column(schema: pa.Schema, features: dict[str, dict[str, Any]], file: Path) -> str:
    def holds_bytes(kind: pa.DataType) -> bool:
        if pa.types.is_struct(kind):
            return kind.get_field_index("bytes") >= 0 and holds_bytes(kind.field("bytes").type)
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    fitting = [field.name for field in schema if holds_bytes(field.type)]
    return _choose(fitting, features, "Image", IMAGES, "images (struct {bytes, path}, or bytes)", schema, file)


def _label_column(schema: pa.Schema, features: dict[str, dict[str, Any]], file: Path) -> str:
    fitting = [field.name for field in schema if pa.types.is_integer(field.type)]
    return _choose(fitting, features, "ClassLabel", LABELS, "labels (integers)", schema, file)


def _choose(
    fitting: list[str],
    features: dict[str, dict[str, Any]],
    kind: str,
    preferred: tuple[str, ...],
    what: str,
    schema: pa.Schema,
    file: Path,
) -> str:
    described = [name for name in fitting if features.get(name, {}).get("_type") == kind]
    candidates = described or fitting
    named = [name for name in preferred if name in candidates]
    if named or described or len(candidates) == 1:
        return (named or candidates)[0]
    columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
    raise DataError(f"{'no' if not fitting else 'several possible'} column of {what}; columns are {columns}", file=file)


def _labels(file: Path, image: str, label: str) -> np.ndarray:
    parquet = _open(file)
    for column in (image, label):
        if column not in parquet.schema_arrow.names:
            raise DataError(f"no column {column!r}, which the first training file has", file=file)
    try:
        values = parquet.read([label]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(file, error) from None
    if values.null_count:
        message = f"column {label!r} has {values.null_count} empty cells; expected a label for each image"
        raise DataError(message, file=file)
    labels: np.ndarray = values.to_numpy().astype(np.int64)
    return labels


def _unpacked_bytes(file: Path, column: str) -> int:
    metadata = pq.read_metadata(file)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(j) for group in groups for j in range(group.num_columns)]
    return sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema.split(".")[0] == column)
