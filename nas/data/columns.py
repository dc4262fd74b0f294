"""The columns of a parquet file that hold images and labels, and what the labels mean.

The schema's "huggingface" metadata, where it can be read, says which columns these are and how the classes are called.
Without it, a column is known by a usual name, or by being the only one of its type.

    integers with names        index the names
    integers without           0 to K-1 are the classes; 1 to K as well, if they are exactly these
    text, true and false       the classes are the values of the training files, in alphabetical order
    empty, or -1, throughout   a split without labels
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from nas.data.pictures import UNKNOWN
from nas.errors import DataError, nearest, shown
from nas.files import parse_json

LABELS = ("label", "labels", "fine_label", "class", "target")  # by preference, where several columns could be the label
TEXTS = (*LABELS, "label_name", "class_name", "category")  # text under another name may be anything
IMAGES = ("image", "img")


@dataclass(frozen=True)
class Columns:
    """names: of the classes, by the metadata. text: labels are text, or true and false. note: on what was guessed."""

    image: str
    label: str
    names: tuple[str, ...] | None
    text: bool
    note: str | None


def columns_of(file: Path) -> Columns:
    """Which columns of a file are images and labels. Raises DataError where that cannot be told."""
    schema = open_parquet(file).schema_arrow
    features = _features(schema)
    image = _choose(schema, features, "Image", IMAGES, _holds_bytes, "images (struct {bytes, path}, or bytes)", file)
    described = [name for name in schema.names if features.get(name, {}).get("_type") == "ClassLabel"]
    worded = [name for name in TEXTS if name in schema.names and _is_text(schema.field(name).type)]
    whole = [field.name for field in schema if pa.types.is_integer(field.type)]
    if worded and not set(whole) & {*LABELS, *described}:
        return Columns(image, worded[0], None, True, None)
    wanted = f"labels (whole numbers, or text if it is called {', '.join(TEXTS)})"
    label = _choose(schema, features, "ClassLabel", LABELS, pa.types.is_integer, wanted, file)
    note = None if label in (*LABELS, *described) else f"labels are column {label!r}, the only one with whole numbers"
    return Columns(image, label, _names(features.get(label, {})), False, note)


def labels_of(files: Sequence[Path], columns: Columns, *, trains: bool) -> np.ndarray | None:
    """The labels of a split as its files have them, int64 or text; None if it has none (all empty, or all -1).

    trains: a split for training has a column of labels. Raises DataError for a file with other columns or other class
    names than the first training file.
    """
    parts = [part for file in files if len(part := _labels(file, columns, trains))]
    if not parts:
        return None
    values = np.concatenate(parts)
    empty = np.array([value is None for value in values]) if values.dtype == object else values == UNKNOWN
    return None if empty.all() else values


def check_whole(labels: np.ndarray, files: Sequence[Path], columns: Columns) -> None:
    """Raise DataError for empty cells among labels."""
    if labels.dtype == object and (count := sum(value is None for value in labels)):
        message = f"column {columns.label!r} has {count} empty cells; expected a label for each image"
        raise DataError(message, file=files[0] if len(files) == 1 else files[0].parent)


def classes_of(labels: np.ndarray, columns: Columns) -> tuple[tuple[str, ...], int, list[str]]:
    """(classes, the label of the first one, notes) from the training labels."""
    if columns.text:
        return tuple(sorted(set(labels))), 0, []
    if columns.names is not None:
        return columns.names, 0, []
    values = np.unique(labels.astype(np.int64))
    if values[0] == 1 and len(values) == values[-1] > 1:
        last = int(values[-1])
        return tuple(map(str, range(1, last + 1))), 1, [f"labels begin at 1: the classes are called 1 to {last}"]
    count = min(int(values[-1]) + 1, len(labels))  # a stray huge label is out of range, later
    return tuple(map(str, range(max(count, 0)))), 0, []


def indexed(labels: np.ndarray, classes: tuple[str, ...], first: int, columns: Columns, where: Path) -> np.ndarray:
    """int64 labels that index `classes`. Raises DataError for a text that is no class."""
    if not columns.text:
        values: np.ndarray = labels.astype(np.int64) - first
        if columns.names is not None and len(values) and (values.min(), values.max()) == (1, len(classes)):
            message = f"labels are 1 to {len(classes)}, and its {len(classes)} class names are numbered from 0"
            raise DataError(f"column {columns.label!r}: {message}; subtract 1 from the labels", file=where)
        return values
    index = {name: at for at, name in enumerate(classes)}
    unknown = next((value for value in labels if value not in index), None)
    if unknown is not None:
        found = f"label {shown(unknown)}, which no training image has"
        raise DataError(f"column {columns.label!r}: {found}; {nearest(unknown, classes)}", file=where)
    return np.array([index[value] for value in labels], dtype=np.int64)


def open_parquet(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, memory_map=True)
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, error) from None


def damaged(file: Path, error: Exception) -> DataError:
    return DataError(f"not readable as parquet: {str(error).partition(chr(10))[0]}", file=file)


def _labels(file: Path, columns: Columns, trains: bool) -> np.ndarray:
    parquet = open_parquet(file)
    schema = parquet.schema_arrow
    rows = parquet.metadata.num_rows
    if not rows or (columns.label not in schema.names and not trains):
        return np.full(rows, None, dtype=object)
    for column, fits in ((columns.image, _holds_bytes), (columns.label, _is_text if columns.text else _is_whole)):
        if column not in schema.names:
            raise DataError(f"no column {column!r}, which the first training file has", file=file)
        if not fits(schema.field(column).type):
            found = f"column {column!r} is {schema.field(column).type}"
            raise DataError(f"{found}, which is not what the first training file has there", file=file)
    names = _names(_features(schema).get(columns.label, {}))
    if names is not None and columns.names is not None and names != columns.names:
        differing = next((pair for pair in zip(columns.names, names, strict=False) if pair[0] != pair[1]), None)
        what = (
            f"{differing[1]!r} in place of {differing[0]!r}" if differing else f"{len(names)}, not {len(columns.names)}"
        )
        raise DataError(f"its class names differ from those of the first training file: {what}", file=file)
    try:
        values = parquet.read([columns.label]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise damaged(file, error) from None
    if columns.text:
        texts = values.cast(pa.string()).to_pylist()
        return np.array(texts, dtype=object)
    if values.null_count:
        return np.array(values.to_pylist(), dtype=object)
    labels: np.ndarray = values.to_numpy().astype(np.int64)
    return labels


def _features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """The hub's description of the columns: {"label": {"_type": "ClassLabel", "names": [...]}, ...}, or {}."""
    try:
        features = parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: feature for name, feature in features.items() if isinstance(feature, dict)}
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _names(feature: dict[str, Any]) -> tuple[str, ...] | None:
    """The class names of a label's description: a list, or a mapping from numbers; None if it has none to be read."""
    names = feature.get("names")
    if isinstance(names, dict) and sorted(names) == sorted(str(at) for at in range(len(names))):
        names = [names[str(at)] for at in range(len(names))]
    return tuple(map(str, names)) if isinstance(names, list) and names else None


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _holds_bytes(kind.field("bytes").type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_null(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_null(kind)
    )


def _choose(
    schema: pa.Schema,
    features: dict[str, dict[str, Any]],
    kind: str,
    preferred: tuple[str, ...],
    fits: Callable[[pa.DataType], bool],
    what: str,
    file: Path,
) -> str:
    fitting = [field.name for field in schema if fits(field.type)]
    described = [name for name in fitting if features.get(name, {}).get("_type") == kind]
    candidates = described or fitting
    named = [name for name in preferred if name in candidates]
    if named or described or len(candidates) == 1:
        return (named or candidates)[0]
    columns = ", ".join(f"{field.name}: {field.type}" for field in schema)
    found = "several columns could be" if fitting else "no column of"
    raise DataError(f"{found} {what}; columns are {columns}", file=file)
