"""Where the images of tar shards lie, by one pass over the headers: an image is then read at its place.

The layout is webdataset's (Aizman et al., 2019, https://github.com/webdataset/webdataset): a sample is members one
behind the other with the same key, which is their name up to the first dot of its last part.

    n01440764/0007.jpg     the image: one member with the ending of an image
    n01440764/0007.cls     its label, a whole number as text
    n01440764/0007.json    without a .cls, its label: {"label": 0} or {"cls": 0}

Other members are passed over. The index has 24 bytes an image. It is kept in the cache, named by the shards with their
size and time of change, so that one pass serves all processes and all later runs.

Legend: N images, S shards.
"""

from __future__ import annotations

import logging
import os
import tarfile
import zipfile
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from nas.cache import cache_file, locked
from nas.data.cache import file_state
from nas.data.folders import EXTENSIONS
from nas.data.pictures import UNKNOWN
from nas.errors import DataError, shown
from nas.files import parse_json, regular, write_atomically
from nas.heartbeat import beat

log = logging.getLogger(__name__)

VERSION = 1  # of the index; to be raised when a shard is read in another way
LARGE_BYTES = 2**30  # shards of this size together take a while: that is said
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "zip"}
END = 2 * tarfile.RECORDSIZE  # bytes behind the last member that are looked at

Piece = tuple[int, int]  # offset and size of a member's data


@dataclass(frozen=True, eq=False)
class TarIndex:
    """N images in the order of their shards. All are int64; places and sizes are in bytes.

    counts_S: images of each shard. labels_N: as the files have them; UNKNOWN throughout where they have none.
    """

    counts_S: np.ndarray
    offsets_N: np.ndarray
    sizes_N: np.ndarray
    labels_N: np.ndarray


def index_of(files: Sequence[Path]) -> TarIndex:
    """The index of these shards, from the cache or made now.

    Raises DataError, with shard and key, for a tar that is packed, damaged or cut off, a sample without image, with
    several, or with a label that is no whole number of at least 0, and for labels of some samples alone.
    """
    states = [file_state(file) for file in files]
    path = cache_file(["tars", VERSION, *states], ".index")
    if (found := _kept(path)) is not None:
        return found
    with locked(path):
        if (found := _kept(path)) is not None:
            return found
        if sum(size for _, size, _ in states) > LARGE_BYTES:
            log.warning("reading the headers of %d tar files in %s, once", len(files), files[0].parent)
        made = _made(files)
        with suppress(OSError):  # the next process reads the headers again
            write_atomically(path, lambda temporary: _write(temporary, made))
    return made


def no_label(key: str) -> str:
    """The message about a sample without a label."""
    wanted = f'{key}.cls (a whole number), or {key}.json with "label" or "cls"'
    return f"no label; expected {wanted}, right before or behind the image"


def key_of(name: str) -> str:
    """A member's name up to the first dot of its last part.

    >>> key_of("a.b/0007.seg.png")
    'a.b/0007'
    """
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _made(files: Sequence[Path]) -> TarIndex:
    offsets, sizes, labels, counts = array("q"), array("q"), array("q"), []
    for file in files:
        before = len(labels)
        for key, (offset, size), label in _samples(file):
            labelled = labels[0] != UNKNOWN if labels else label is not None
            if labelled and label is None:
                raise _wrong(file, key, no_label(key))
            if label is not None and not labelled:
                raise _wrong(file, key, f"has label {label}, while the samples before it have none")
            offsets.append(offset)
            sizes.append(size)
            labels.append(UNKNOWN if label is None else label)
        counts.append(len(labels) - before)
    offsets_N, sizes_N, labels_N = (np.asarray(column) for column in (offsets, sizes, labels))
    return TarIndex(np.array(counts, dtype=np.int64), offsets_N, sizes_N, labels_N)


def _samples(file: Path) -> Iterator[tuple[str, Piece, int | None]]:
    """(key, the place of the image, the label if there is one) of each sample of a shard."""
    with regular(file).open("rb") as stream:
        for key, pieces in _grouped(_members(file, stream)):
            beat()
            for kind, names in (("image", EXTENSIONS), ("cls", (".cls",)), ("json", (".json",))):
                if len(pieces[kind]) > 1:
                    what = "images" if kind == "image" else f"members {kind}"
                    raise _wrong(file, key, f"{len(pieces[kind])} {what}; expected one ({', '.join(names)})")
            if not pieces["image"]:
                message = f"no image; expected a member with an ending such as {', '.join(EXTENSIONS[:4])}"
                raise _wrong(file, key, f"{message}, right before or behind the label")
            yield key, pieces["image"][0], _label(file, key, stream, pieces)


def _grouped(members: Iterator[tarfile.TarInfo]) -> Iterator[tuple[str, dict[str, list[Piece]]]]:
    """Each key with the places of its images, .cls and .json, in the order of the shard."""
    last: str | None = None
    pieces: dict[str, list[Piece]] = {}
    for member in members:
        name = member.name.rpartition("/")[2]
        ending = "." + name.rpartition(".")[2].lower()
        kind = "image" if ending in EXTENSIONS else ending[1:]
        if name.startswith(".") or "." not in name or kind not in ("image", "cls", "json"):
            continue
        if (key := key_of(member.name)) != last:
            if last is not None:
                yield last, pieces
            last, pieces = key, {"image": [], "cls": [], "json": []}
        pieces[kind].append((member.offset_data, member.size))
    if last is not None:
        yield last, pieces


def _members(file: Path, stream: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The files in a shard. What lies behind the last is looked at: tarfile ends at damage without a word."""
    last = "its beginning"
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            while (member := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # tarfile remembers all that it has seen
                last = member.name
                if member.isreg():
                    yield member
            behind = os.pread(stream.fileno(), END, archive.offset)
    except tarfile.TarError as error:
        start = os.pread(stream.fileno(), 8, 0)
        if (kind := next((kind for mark, kind in PACKED.items() if start.startswith(mark)), None)) is not None:
            raise DataError(f"{file}: {compressed(kind)}") from None
        raise DataError(f"{file}: cut off or damaged at {last}: {error}; fetch it again") from None
    if len(behind) < tarfile.BLOCKSIZE or any(behind[: tarfile.BLOCKSIZE]):
        raise DataError(f"{file}: cut off or damaged behind {last}; fetch it again")
    if any(behind):
        message = f"goes on behind its end, after {last}"
        raise DataError(f"{file}: {message}; join tar files by `tar --concatenate`, not by `cat`")


def _label(file: Path, key: str, stream: BinaryIO, pieces: dict[str, list[Piece]]) -> int | None:
    kind = next((kind for kind in ("cls", "json") if pieces[kind]), None)
    if kind is None:
        return None
    offset, size = pieces[kind][0]
    text = os.pread(stream.fileno(), size, offset)
    try:
        if kind == "cls":
            label = int(text)
        else:
            described = parse_json(text)
            value = described.get("label", described.get("cls"))
            if value is None:
                return None
            if type(value) is not int:
                raise ValueError
            label = value
    except (ValueError, AttributeError, RecursionError):
        found = text[:80].decode(errors="replace")
        raise _wrong(file, key, f"label {shown(found)} (.{kind}) is no whole number") from None
    if not 0 <= label < 2**31:
        raise _wrong(file, key, f"label {shown(label)} (.{kind}); expected a whole number of at least 0")
    return label


def compressed(kind: str) -> str:
    """The message about a compressed tar."""
    return f"a compressed tar ({kind}), in which an image cannot be read at its place; uncompress it"


def _wrong(file: Path, key: str, message: str) -> DataError:
    return DataError(f"{file}: sample {shown(key)}: {message}")


def _kept(path: Path) -> TarIndex | None:
    """The index in a cache file; None where there is none or it is damaged: each array has a checksum."""
    try:
        with np.load(path) as arrays:
            return TarIndex(**arrays)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def _write(temporary: Path, index: TarIndex) -> None:
    with temporary.open("wb") as file:
        np.savez(file, **vars(index))
