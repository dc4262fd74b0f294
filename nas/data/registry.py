"""The kinds of source, by name. A new kind is one new file, in `nas/data/sources/` or a plug-in (nas/plugins.py).

    @source("digits")                 # exact names; the reader is given the name
    def read(name: str) -> Raw: ...

    @source("parquet:PATH")           # takes a folder; the reader is given its path
    def read(path: Path) -> Raw: ...

    @source("npz:FILE")               # takes a file; the reader is given its path
    def read(path: Path) -> Raw: ...

A reader says what there is (names, labels, official splits). Decoding, resizing, splitting and caching are done by
`load`, so that a reader stays short.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.data.pictures import Pictures
from nas.errors import DataError, SpecError, nearest, shown
from nas.plugins import blamed
from nas.registry import Registry

Reader = Callable[[Any], "Raw"]


@dataclass(frozen=True)
class Raw:
    """A dataset as its files have it. A split that the dataset does not have is None; train is always there.

    Images without labels have no `classes`, and the label UNKNOWN (nas/data/pictures.py). first: what the files call
    the first class, for messages: labels of files may begin at 1, those of pictures index `classes`. origins: where a
    split comes from, such as `train/`. notes: what was left out, or read in a way that a user may not expect, a
    sentence each.
    """

    name: str
    classes: tuple[str, ...]
    train: Pictures
    validation: Pictures | None = None
    test: Pictures | None = None
    flip: bool = True  # whether a mirrored image keeps its class
    first: int = 0
    origins: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A reader, and what it takes behind the colon: a folder (PATH), a FILE, or nothing, for an exact name."""

    read: Reader
    takes: str


SOURCES: Registry[Source] = Registry("dataset", "nas.data.sources")


def source(*names: str) -> Callable[[Reader], Reader]:
    """Register a reader under exact names, or under one `kind:PATH` (a folder) or `kind:FILE`."""

    def register(reader: Reader) -> Reader:
        for name in names:
            kind, _, takes = name.partition(":")
            if takes not in ("", "PATH", "FILE"):
                raise SpecError(f"a source is called NAME, NAME:PATH (a folder) or NAME:FILE, found {shown(name)}")
            SOURCES.add(_normal(kind))(Source(reader, takes))
        return reader

    return register


def source_names() -> list[str]:
    """Everything that `load` accepts, as a user writes it: `cifar10`, `digits`, ..., `parquet:PATH`."""
    return [f"{kind}:{known.takes}" if known.takes else kind for kind, known in SOURCES.items()]


def read(text: str, base: Path | None = None) -> Raw:
    """The dataset that `text` names. A relative path starts at `base`, else at the working directory."""
    kind, colon, rest = text.strip().partition(":")
    kind, rest = _normal(kind), rest.strip()
    if kind not in SOURCES or bool(colon) != bool(SOURCES[kind].takes):
        names = source_names()
        close = next((name for name in names if name.partition(":")[0] == kind), None)
        hint = f"write {close}" if close else nearest(text, names)
        if not colon and os.path.isdir((base or Path()) / Path(text.strip()).expanduser()):
            kinds = [f"{name}:{text.strip()}" for name, known in SOURCES.items() if known.takes == "PATH"]
            hint = f"it is a folder: write {', '.join(kinds)} (images: needs no labels, and suits a conversion alone)"
        raise DataError(f"no dataset is called {shown(text)}; {hint}")
    known = SOURCES[kind]
    if not known.takes:
        return _asked(known, kind)
    if not rest:
        raise DataError(f"{shown(text)} needs a path after the colon")
    path = (base or Path()) / Path(rest).expanduser()
    found, wanted = ("file", "directory") if known.takes == "PATH" else ("directory", "file")
    if not os.path.exists(path):
        raise DataError(f"{shown(text)}: no such {wanted}: {os.path.abspath(path)}")
    if os.path.isdir(path) != (known.takes == "PATH"):
        raise DataError(f"{shown(text)}: {kind} takes a {wanted}, found a {found}: {path.resolve()}")
    return _asked(known, path)


def _asked(source: Source, what: str | Path) -> Raw:
    """What a reader answers. One that leaves by `sys.exit()` would end the caller's script as if all were well."""
    try:
        return source.read(what)
    except SystemExit as error:
        raise blamed(error) or error from None


def _normal(kind: str) -> str:
    return kind.strip().lower().replace("-", "_")
