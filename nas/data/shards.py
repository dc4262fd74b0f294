"""Which shards, parquet or tar files, hold which split, by their names.

    train-00000-of-00002.parquet                  the hub's, now
    train-00000-of-00002-1a2b3c4d5e6f7a8b.parquet the hub's, formerly: each file ends in a hash
    train.parquet, val-0.parquet, dev_1.parquet   any usual word (nas/data/names.py), numbered or not
    train/0000.parquet                            a folder per split

    imagenet1k-train-0000.tar                     of tar files: a word for the split among others
    0000.tar, shard-0000.tar                      of tar files: no words at all, so all are of training

They lie in PATH, in PATH/data, or in a folder that is alone in either. A numbered set must be complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from nas.data.names import split_among, split_named, words_of
from nas.data.samples import changed_at, sample_of, size_of
from nas.errors import DataError
from nas.heartbeat import beat

NUMBERED = re.compile(r"(.+?)-(\d+)-of-(\d+)(?:-[0-9a-fA-F]+)?")
SAMPLES, SAMPLED = 8, 4000  # places at which a shard is looked at, and all of them, at most
Shards = dict[str, list[Path]]


def find_shards(path: Path, ending: str = ".parquet") -> tuple[Shards, list[str]]:
    """The files of each split in order, and notes on what was left out. Raises DataError where there is no train."""
    seen: list[str] = []
    for place in (path, path / "data"):
        folder = _alone(place, ending)
        named = _named(folder, ending) if folder.is_dir() else []
        shards: Shards = {}
        for name, file in named:
            if split := _split_of(name, ending):
                shards.setdefault(split, []).append(file)
        if ending == ".tar" and named and all(file.parent == folder and not words_of(name) for name, file in named):
            shards["train"] = [file for _, file in named]
        if "train" in shards:
            for split, files in shards.items():
                _check_words(folder, split, [name for name, file in named if file in files])
                _check_complete(folder, files)
            others = [file.name for name, file in named if file not in chain(*shards.values())]
            return shards, [f"skipped files of no split: {_listed(others)}"] if others else []
        seen += [str(file.relative_to(path)) for _, file in named]
    what = f"; found {_listed(seen)}" if seen else ""
    layout = "the layout of the Hugging Face hub" if ending == ".parquet" else "shards named by their split"
    message = f"no train-*{ending} here or in data/{what}; expected {layout}"
    raise DataError(f"{path}: {message}")


def _split_of(name: str, ending: str) -> str | None:
    return split_named(name) or (split_among(name) if ending == ".tar" else None)


def _alone(folder: Path, ending: str) -> Path:
    """The folder itself, or the one in it, or in that, which is alone there: an archive opened one level too high."""
    while folder.is_dir():
        inside = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__"))]
        folders = [entry for entry in inside if entry.is_dir()]
        files = any(entry.suffix.lower() == ending for entry in inside)
        if files or len(folders) != 1 or folders[0].name == "data" or split_named(folders[0].name):
            return folder
        folder = folders[0]
    return folder


def _named(folder: Path, ending: str) -> list[tuple[str, Path]]:
    """Each of the files with the name that says its split: its own without numbers, or that of its folder."""
    found = []
    for file in sorted(folder.glob("*")) + sorted(folder.glob("*/*")):
        if file.suffix.lower() == ending and file.is_file() and not file.name.startswith("."):
            numbered = NUMBERED.fullmatch(file.stem)
            own = numbered[1] if numbered else file.stem
            found.append((own if file.parent == folder else file.parent.name, file))
    return found


def _check_words(folder: Path, split: str, names: Iterable[str]) -> None:
    words = sorted({" ".join(words_of(name)) for name in names})
    if len(words) > 1:
        raise DataError(f"{folder}: {' and '.join(words)} all look like the {split} split; leave the files of one")


def _check_complete(folder: Path, files: list[Path]) -> None:
    """Raise DataError unless numbered files are there once each, and nothing else beside them."""
    numbers = [match for file in files if (match := NUMBERED.fullmatch(file.stem))]
    if not numbers:
        return
    counts = {int(match[3]) for match in numbers}
    if len(numbers) < len(files) or len(counts) > 1 or len({match[2] for match in numbers}) < len(numbers):
        names = _listed([file.name for file in files])
        raise DataError(f"{folder}: {names} are of several versions of one split; leave the files of one")
    count = counts.pop()
    if len(numbers) != count:
        name = f"{numbers[0][1]}-*-of-{count:05d}{files[0].suffix}"
        raise DataError(f"{folder}: {len(numbers)} of the {count} files {name} are here")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def marks_in(files: list[Path], indices: np.ndarray) -> list[Any]:
    """`Pictures.marks` of images in shards: places, and the shards' names, sizes and samples of their bytes.

    To look at each image would read all shards.
    """
    places = max(1, min(SAMPLES, SAMPLED // max(1, len(files))))
    return [*indices.tolist(), *(_mark(file, places, changed_at(file)) for file in files)]


@lru_cache(maxsize=100_000)  # several splits may be of the same files
def _mark(file: Path, places: int, changed: int) -> tuple[str, int, str]:
    beat()
    return file.name, size_of(file), sample_of(file, places)
