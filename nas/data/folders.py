"""A folder of images and all that is below it, read once: images, other files, and links that lead nowhere or back.

images, by their ending    kept, in alphabetical order; other files are counted
hidden files and folders   passed over, and `__MACOSX`, which archives bring along
links                      followed; a circular one is left out, and none may bring in an image twice
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from nas.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass
class Folder:
    """A folder. `folders` by name; `images` and `others` are the names of files in it, sorted."""

    path: Path
    folders: dict[str, Folder] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)

    @property
    def filled(self) -> dict[str, Folder]:
        """The folders in it that have images at any depth, in alphabetical order."""
        return {name: inner for name, inner in sorted(self.folders.items()) if any(inner.walk_images())}

    def walk(self) -> Iterator[Folder]:
        yield self
        for inner in self.folders.values():
            yield from inner.walk()

    def walk_images(self) -> Iterator[Path]:
        return (folder.path / name for folder in self.walk() for name in folder.images)

    def below(self) -> list[Path]:
        """The images in it at any depth, in alphabetical order."""
        return sorted(self.walk_images())


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
        others = [folder.path / name for folder in self.root.walk() for name in folder.others]
        found = []
        if others:
            endings = Counter(path.suffix.lower() or "without an ending" for path in others).most_common(4)
            kinds = ", ".join(f"{count} {ending}" for ending, count in endings)
            found.append(f"skipped {len(others)} files that are no images by their ending ({kinds})")
        if self.circular:
            found.append(f"skipped {len(self.circular)} circular links, such as {self.circular[0]}")
        return found


def read_tree(path: Path) -> Tree:
    """Everything below `path`. Raises DataError for a folder that may not be read."""
    tree, state = Tree(Folder(path)), path.stat()
    _read(tree.root, tree, {(state.st_dev, state.st_ino): path}, ((state.st_dev, state.st_ino),))
    if tree.linked:
        real: dict[str, Path] = {}
        for image in tree.root.walk_images():
            other = real.setdefault(os.path.realpath(image), image)
            if other != image:
                tree.twice.append((other, image))
    return tree


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
    try:
        entries = sorted(os.scandir(folder.path), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder.path}: cannot be read: {error.strerror}") from None
    for entry in entries:
        path = Path(entry.path)
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        if entry.is_symlink() and not os.path.exists(entry.path):
            tree.broken.append(path)
        elif entry.is_dir():
            state = entry.stat()
            place = (state.st_dev, state.st_ino)
            if place in above:
                tree.circular.append(path)
            elif place in seen:
                tree.twice.append((seen[place], path))
            else:
                seen[place] = path
                folder.folders[entry.name] = Folder(path)
                _read(folder.folders[entry.name], tree, seen, (*above, place))
        else:
            image = entry.name.lower().endswith(EXTENSIONS)
            (folder.images if image else folder.others).append(entry.name)
            tree.linked |= image and entry.is_symlink()
