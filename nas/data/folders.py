"""A folder of images and all that is below it, read once: images, other files, and links that lead nowhere or back.

images, by their ending    kept, in alphabetical order; other files are counted
hidden files and folders   passed over, and `__MACOSX`, which archives bring along
links                      followed; a circular one is left out, and none may bring in an image twice
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nas.data.index import Names, Paths, Run
from nas.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass
class Folder:
    """A folder. `folders` by name; `images` and `others` are the names of files in it."""

    path: Path
    folders: dict[str, Folder] = field(default_factory=dict)
    images: Names = field(default_factory=Names)
    others: Names = field(default_factory=Names)

    @property
    def filled(self) -> dict[str, Folder]:
        """The folders in it that have images at any depth, in alphabetical order."""
        return {name: inner for name, inner in sorted(self.folders.items()) if inner._holds_images()}

    def _holds_images(self) -> bool:
        return bool(self.images) or any(inner._holds_images() for inner in self.folders.values())

    def walk(self) -> Iterator[Folder]:
        yield self
        for inner in self.folders.values():
            yield from inner.walk()

    def walk_images(self) -> Iterator[Path]:
        return (folder.path / name for folder in self.walk() for name in folder.images)

    def below(self) -> Paths:
        """The images in it at any depth, in alphabetical order."""
        return Paths(self.runs())

    def runs(self) -> Iterator[Run]:
        """The same, folder by folder; the names of a folder's files are parted by those of the folders beside them."""
        names, start = list(self.images), 0
        for name, inner in sorted(self.folders.items()):
            end = bisect_left(names, name)
            yield self.path, names[start:end]
            yield from inner.runs()
            start = end
        yield self.path, names[start:]


@dataclass
class Tree:
    """A folder that was read, and its links: circular ones, broken ones, and pairs of names of the same thing."""

    root: Folder
    linked: bool = False  # an image is a link
    circular: list[Path] = field(default_factory=list)
    broken: list[Path] = field(default_factory=list)
    twice: list[tuple[Path, Path]] = field(default_factory=list)

    def checked(self) -> Tree:
        """Itself. Raises DataError for a broken link, and for two links by which an image would count twice."""
        if self.broken:
            count, first = len(self.broken), self.broken[0]
            what = "a link leads nowhere" if count == 1 else f"{count} links lead nowhere, such as this"
            raise DataError(f"{first}: {what} (to {os.readlink(first)}); restore the target, or remove the link")
        if self.twice:
            first, second = self.twice[0]
            message = f"{first} and {second} are the same, by a link: its images would count twice"
            raise DataError(f"{message}, perhaps in training and in test; remove one of them")
        return self

    def skipped(self) -> list[str]:
        """What was left out, a sentence each."""
        endings = Counter(
            os.path.splitext(name)[1].lower() or "without an ending"
            for folder in self.root.walk()
            for name in folder.others
        )
        found = []
        if endings:
            kinds = ", ".join(f"{count} {ending}" for ending, count in endings.most_common(4))
            found.append(f"skipped {endings.total()} files that are no images by their ending ({kinds})")
        if self.circular:
            found.append(f"skipped {len(self.circular)} circular links, such as {self.circular[0]}")
        return found


def read_tree(path: Path) -> Tree:
    """Everything below `path`. Raises DataError for a folder that may not be read."""
    tree, state = Tree(Folder(path)), path.stat()
    _read(tree.root, tree, {(state.st_dev, state.st_ino): path}, ((state.st_dev, state.st_ino),))
    tree.broken.sort()
    if tree.linked:
        tree.twice += _same_files(tree.root)
    return tree


def _same_files(root: Folder) -> list[tuple[Path, Path]]:
    """Pairs of images that are one file: by a number of 8 bytes for each, then by path where a number recurs."""
    numbers_N = np.fromiter((hash(os.path.realpath(image)) for image in root.walk_images()), np.int64)
    numbers, counts = np.unique(numbers_N, return_counts=True)
    recurring, pairs = set(numbers[counts > 1].tolist()), []
    real: dict[str, Path] = {}
    for image, number in zip(root.walk_images(), numbers_N, strict=True):
        if number in recurring:
            other = real.setdefault(os.path.realpath(image), image)
            if other != image:
                pairs.append((other, image))
    return pairs


def image_files(path: Path) -> list[Path]:
    """The images in a folder and below it, by their ending, in alphabetical order; broken links are among them.

    >>> image_files(Path("photos"))
    [PosixPath('photos/a.jpg')]
    """
    tree = read_tree(path)
    return sorted({*tree.root.walk_images(), *(p for p in tree.broken if p.name.lower().endswith(EXTENSIONS))})


Place = tuple[int, int]  # device and number of a folder


def _read(folder: Folder, tree: Tree, seen: dict[Place, Path], above: tuple[Place, ...]) -> None:
    """seen: every folder that was read, by its place on the disk. above: the folders around this one."""
    images: list[str] = []
    others: list[str] = []
    inner: list[os.DirEntry[str]] = []
    try:
        for entry in os.scandir(folder.path):
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_symlink() and not os.path.exists(entry.path):
                tree.broken.append(Path(entry.path))
            elif entry.is_dir():
                inner.append(entry)
            else:
                image = entry.name.lower().endswith(EXTENSIONS)
                (images if image else others).append(entry.name)
                tree.linked |= image and entry.is_symlink()
    except OSError as error:
        raise DataError(f"{folder.path}: cannot be read: {error.strerror}") from None
    folder.images, folder.others = Names.sorted(images), Names.sorted(others)
    for entry in sorted(inner, key=lambda entry: entry.name):
        path, state = Path(entry.path), entry.stat()
        place = (state.st_dev, state.st_ino)
        if place in above:
            tree.circular.append(path)
        elif place in seen:
            tree.twice.append((seen[place], path))
        else:
            seen[place] = path
            folder.folders[entry.name] = Folder(path)
            _read(folder.folders[entry.name], tree, seen, (*above, place))
