"""`imagefolder:PATH`: one folder per class, as torchvision's ImageFolder has it.

    PATH/train/<class>/*.jpg     and, if there are any, PATH/val/<class>/... and PATH/test/<class>/...
    PATH/<class>/*.jpg           class folders alone: the test split is carved

Classes are the folder names in alphabetical order; images may lie deeper. Split folders are known by the usual words,
in any case (nas/data/names.py). A folder that contains nothing but another one, as archives have them, is gone through.
A validation or test split whose images lie in no class folder has no labels, and counts as absent. Classes of ImageNet
are called by their words, and the images of its flat validation folder have labels, where the files that say so are
there (nas/data/imagenet.py). What is left out or gone through is a note of the dataset; what could be read in two ways
is refused, with what was seen.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from nas.data.encoded import ImageFiles
from nas.data.folders import EXTENSIONS, Folder, read_tree
from nas.data.imagenet import called, solution_of, solved
from nas.data.index import Paths
from nas.data.names import nameless, split_named, split_names
from nas.data.registry import Raw, source
from nas.errors import DataError, nearest

NAMED = 5  # folders that a message names


@source("imagefolder:PATH")
def read(path: Path) -> Raw:
    tree = read_tree(path).checked()
    notes = tree.skipped()
    top = _inner(tree.root, notes)
    splits = _splits(top)
    name = f"imagefolder:{path}"
    if "train" not in splits:
        if splits:
            found = next(iter(splits.values())).path.name
            message = f"has {found}/ but no train/ beside it; expected train/<class>/ or <class>/ folders"
            raise DataError(f"{top.path}: {message}")
        _refuse_splits_in_classes(top)
        notes += [*_loose(top), *_nested(top)]
        classes = _classes(top)
        names, more = called(classes, top.path)
        return Raw(name, names, _images(top, classes), notes=(*notes, *more))
    beside = [inner for inner in top.filled.values() if inner not in splits.values()]
    if beside:
        notes.append(f"skipped folders beside the splits: {_listed([inner.path.name for inner in beside])}")
    origins = {split: f"{folder.path.name}/" for split, folder in splits.items()}
    inner = {split: _inner(folder, notes) for split, folder in splits.items()}
    classes = _classes(inner["train"])
    notes += [*_loose(inner["train"]), *_nested(inner["train"])]
    train = _images(inner["train"], classes)
    held = {split: _held(split, folder, classes, notes) for split, folder in inner.items() if split != "train"}
    names, more = called(classes, inner["train"].path)
    notes += more
    return Raw(name, names, train, held.get("validation"), held.get("test"), origins=origins, notes=tuple(notes))


def _inner(folder: Folder, notes: list[str]) -> Folder:
    """The folder itself or, if it contains nothing but a folder of folders, that one."""
    start = folder
    while len(folder.filled) == 1 and not folder.images:
        (only,) = folder.filled.values()
        if only.images or (split_named(only.path.name) and split_named(folder.path.name) is None):
            break
        folder = only
    if folder is not start:
        notes.append(f"read from {folder.path}, the only folder with images in {start.path}")
    return folder


def _splits(top: Folder) -> dict[str, Folder]:
    """The folder of each split. Raises DataError where two could be the same split."""
    named = split_names(top.filled)
    for split, names in named.items():
        if len(names) > 1:
            seen = f"{_listed(names)} all look like the {split} split"
            raise DataError(f"{top.path}: {seen}; leave one, or put their class folders together")
    splits = {split: top.filled[names[0]] for split, names in named.items()}
    beside = [inner for inner in top.filled.values() if inner not in splits.values()]
    lone = next(iter(splits.values())) if len(splits) == 1 else None
    if lone is not None and not lone.filled and beside:  # a class of that name, such as railway trains
        return {}
    return splits


def _held(split: str, folder: Folder, classes: tuple[str, ...], notes: list[str]) -> ImageFiles | None:
    """A validation or test split; None, with a note, if its images have no labels."""
    names = list(folder.filled)
    if split == "validation" and not names and (solution := solution_of(folder.path)) is not None:
        notes.append(f"labels of {folder.path} are from {solution}")
        return ImageFiles(folder.below(), solved(folder.images, classes, solution))
    if not names or (len(names) == 1 and names[0] not in classes and nameless(names[0])):
        count = len(folder.below())
        notes.append(f"left out {folder.path}: its {count} images lie in no class folders and have no labels")
        return None
    notes += _loose(folder)
    return _images(folder, classes)


def _classes(folder: Folder) -> tuple[str, ...]:
    names = sorted(folder.folders)
    if not names and (loose := folder.images):
        found = f"no class folders, but {len(loose)} images without labels"
        raise DataError(
            f"{folder.path}: {found}; expected <class>/<image>; for `nas convert`, write images:{folder.path}"
        )
    if not names:
        raise DataError(f"{folder.path}: no class folders; expected <class>/<image> with images such as .jpg or .png")
    return tuple(names)


def _images(folder: Folder, classes: tuple[str, ...]) -> ImageFiles:
    paths, labels, ends = Paths(), [], [0]
    for name in _classes(folder):
        place = folder.folders[name]
        if name not in classes:
            raise DataError(f"{place.path}: a class that the training folder does not have; {nearest(name, classes)}")
        paths.extend(place.runs())
        if len(paths) == ends[-1]:
            raise DataError(f"{place.path}: no images in this class folder; looked for {', '.join(EXTENSIONS)}")
        labels.append(classes.index(name))
        ends.append(len(paths))
    return ImageFiles(paths, np.repeat(np.array(labels, dtype=np.int64), np.diff(ends)))


def _loose(folder: Folder) -> list[str]:
    """A note about images beside class folders, which belong to no class."""
    if not folder.images or not folder.filled:
        return []
    first = folder.path / next(iter(folder.images))
    return [f"skipped {len(folder.images)} images beside the class folders, such as {first}"]


def _nested(folder: Folder) -> list[str]:
    """A note about class folders of folders. Raises DataError where these look like the classes, as fold1/cat/ does."""
    deep = {
        name: list(inner.filled) for name, inner in folder.filled.items() if len(inner.filled) > 1 and not inner.images
    }
    times = Counter(name for inside in deep.values() for name in inside)
    shared = sorted(name for name, count in times.items() if count > 1)
    if len(shared) > 1:
        found = f"{_listed(list(deep))} have the same folders ({_listed(shared)}): those look like the classes"
        raise DataError(f"{folder.path}: {found}; expected <class>/<image>, folds put together")
    for name, (first, *_) in deep.items():
        return [f"class folders have folders in them: images of {name}/{first}/ count as {name}"]
    return []


def _refuse_splits_in_classes(top: Folder) -> None:
    """Raise DataError for <class>/train/: training and test images would be one class and be mixed."""
    inside = [
        f"{name}/{inner}/" for name, folder in top.filled.items() for inner in folder.filled if split_named(inner)
    ]
    if len(inside) > 1:
        message = f"class folders contain splits ({_listed(inside)})"
        raise DataError(f"{top.path}: {message}; expected the splits outside: train/<class>/, test/<class>/")


def _listed(names: list[str]) -> str:
    shown = [name if name.endswith("/") else f"{name}/" for name in names[:NAMED]]
    return ", ".join(shown) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
