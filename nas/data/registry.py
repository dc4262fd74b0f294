"""The kinds of source, by name. A new kind is one new file in `nas/data/sources/`; nothing else is edited.

    @source("digits")                 # exact names; the reader is given the name
    def read(name: str) -> Raw: ...

    @source("parquet:PATH")           # a kind that takes a path; the reader is given the path
    def read(path: Path) -> Raw: ...

A reader says what there is (names, labels, official splits) and leaves decoding, resizing, carving and caching to the
floors above it, so that it stays short.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.data.pictures import Pictures
from nas.errors import DataError, nearest


@dataclass(frozen=True)
class Raw:
    """A dataset as its files have it. A split that the dataset does not have is None; train is always there."""

    name: str
    classes: tuple[str, ...]
    train: Pictures
    validation: Pictures | None = None
    test: Pictures | None = None
    flip: bool = True  # whether a mirrored image keeps its class


_readers: dict[str, Callable[[Any], Raw]] = {}


def source(*names: str) -> Callable[[Callable[[Any], Raw]], Callable[[Any], Raw]]:
    """Register a reader under exact names, or under one `kind:PATH`."""

    def register(reader: Callable[[Any], Raw]) -> Callable[[Any], Raw]:
        _readers.update(dict.fromkeys(names, reader))
        return reader

    return register


def source_names() -> list[str]:
    """Everything that `load` accepts, as a user writes it: `cifar10`, `digits`, ..., `parquet:PATH`."""
    package = importlib.import_module("nas.data.sources")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    return sorted(_readers)


def read(text: str, base: Path | None = None) -> Raw:
    """The dataset that `text` names. A relative path starts at `base`, else at the working directory."""
    known = source_names()
    kind, colon, rest = text.strip().partition(":")
    kind = kind.strip().lower().replace("-", "_")
    if colon and f"{kind}:PATH" in known:
        path = (base or Path()) / Path(rest.strip()).expanduser()
        if not rest.strip():
            raise DataError(f"{text!r} needs a path after the colon")
        if not path.is_dir():
            raise DataError(f"{text!r}: no such directory: {path.resolve()}")
        return _readers[f"{kind}:PATH"](path)
    if colon or kind not in known:
        close = next((name for name in known if name.partition(":")[0] == kind), None)
        hint = f"write {close}" if close else nearest(text, known)
        raise DataError(f"no dataset is called {text!r}; {hint}")
    return _readers[kind](kind)
