"""The paths of many files in little memory: 8 bytes a file beside its name, where a `Path` takes about 1 kB.

    names      a.jpgb.jpgc.jpg         one after the other, in one piece
    ends       5, 10, 15               where each of them ends
    folders    pets/cat, pets/dog
    starts     0, 2                    the first file of each folder

Nothing here is an object per file. So processes that are forked from this one share the memory: Python writes to an
object that is looked at (its count of references), and would copy page after page of a list.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

Run = tuple[Path, Iterable[str]]  # a folder, and the names of some files in it


@dataclass(frozen=True)
class Names:
    """Names of files in one folder, sorted.

    >>> list(Names.sorted(["b.jpg", "a.jpg"]))
    ['a.jpg', 'b.jpg']
    """

    joined: bytes = b""  # by a slash, which no name contains
    count: int = 0

    @classmethod
    def sorted(cls, names: Iterable[str]) -> Names:
        ordered = sorted(names)
        return cls(os.fsencode("/".join(ordered)), len(ordered))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[str]:
        return iter(os.fsdecode(self.joined).split("/") if self.count else ())


class Paths:
    """The paths of N files, in order.

    >>> paths = Paths([(Path("pets/cat"), ["a.jpg", "b.jpg"]), (Path("pets/dog"), ["c.jpg"])])
    >>> len(paths), paths[2]
    (3, PosixPath('pets/dog/c.jpg'))
    """

    def __init__(self, runs: Iterable[Run] = ()):
        self.folders: list[Path] = []
        self.starts, self.ends, self.names = array("q"), array("q"), bytearray()
        self.extend(runs)

    @classmethod
    def of(cls, paths: Iterable[Path]) -> Paths:
        """Of single paths."""
        return cls((path.parent, [path.name]) for path in paths)

    def extend(self, runs: Iterable[Run]) -> None:
        """Add files behind the others."""
        for folder, names in runs:
            if not self.folders or self.folders[-1] != folder:
                self.folders.append(folder)
                self.starts.append(len(self))
            for name in names:
                self.names += os.fsencode(name)
                self.ends.append(len(self.names))

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Path:
        if not 0 <= index < len(self):
            raise IndexError(index)
        begin = self.ends[index - 1] if index else 0
        folder = self.folders[bisect_right(self.starts, index) - 1]
        return folder / os.fsdecode(bytes(self.names[begin : self.ends[index]]))
