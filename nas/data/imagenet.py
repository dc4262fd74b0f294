"""Two files that come with ImageNet: what its classes are called, and which class a validation image has.

    LOC_synset_mapping.txt    n01440764 tench, Tinca tinca       (or synset_words.txt, words.txt, classnames.txt)
    LOC_val_solution.csv      ILSVRC2012_val_00000001,n01440764 85 1 499 272 ...       (class and boxes)

They lie in the folder of a split or in one of four above it: Kaggle's archive has ILSVRC/Data/CLS-LOC/train. A class is
called by the first of its words. Where two classes share it, as the bird and the machine `crane`, their folders are
named as well.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nas.errors import DataError, shown

MAPPINGS = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt", "classnames.txt")
SOLUTION = "LOC_val_solution.csv"
ABOVE = 4  # folders
SYNSET = re.compile(r"n\d{8}")
LINE = re.compile(r"(n\d{8})[\s,:]+(\S.*)")


def called(folders: Sequence[str], place: Path) -> tuple[tuple[str, ...], list[str]]:
    """(names of the classes with these folders in `place`, notes). A folder that no file names keeps its own name.

    >>> called(["n01440764", "n01443537"], Path("imagenet/train"))[0]
    ('tench', 'goldfish')
    """
    if not any(SYNSET.fullmatch(folder) for folder in folders):
        return tuple(folders), []
    for file in _above(place, MAPPINGS):
        words = first_words(lines_of(file))
        if words.keys() & set(folders):
            return names_of(folders, words), [f"class names are from {file}"]
    return tuple(folders), []


def first_words(lines: Iterable[str]) -> dict[str, str]:
    """The first word group of each synset: {"n01440764": "tench"}. Other lines are passed over."""
    found = (LINE.fullmatch(line) for line in lines)
    return {match[1]: match[2].partition(",")[0].strip() for match in found if match}


def names_of(synsets: Sequence[str], words: Mapping[str, str]) -> tuple[str, ...]:
    """Their names, of which no two are alike."""
    names = [words.get(synset, synset) for synset in synsets]
    times = Counter(names)
    return tuple(f"{name} ({synset})" if times[name] > 1 else name for name, synset in zip(names, synsets, strict=True))


def lines_of(file: Path) -> list[str]:
    """The lines of a text file, without space around them and without empty ones at the end."""
    try:
        lines = file.read_text(encoding="utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as text: {error}", file=file) from None
    return [line.strip() for line in lines]


def solution_of(place: Path) -> Path | None:
    """The file with the labels of the validation images in `place`, if there is one."""
    return next(iter(_above(place, [SOLUTION])), None)


def solved(images: Iterable[str], folders: Sequence[str], file: Path) -> np.ndarray:
    """Labels of validation images, int64. Raises DataError for an image without a line, or of an unknown class."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        synsets = {row[0]: row[1].partition(" ")[0] for row in csv.reader(stream) if len(row) > 1}
    index = {folder: label for label, folder in enumerate(folders)}
    labels = []
    for image in images:
        synset = synsets.get(Path(image).stem)
        if synset is None:
            raise DataError(f"no line for the validation image {shown(image)}; add it, or remove the image", file=file)
        if synset not in index:
            message = f"{shown(image)} is of class {shown(synset)}, which the training folder does not have"
            raise DataError(f"{message}; remove the image, or the whole validation folder", file=file)
        labels.append(index[synset])
    return np.array(labels, dtype=np.int64)


def _above(place: Path, names: Iterable[str]) -> list[Path]:
    """The files with these names, the nearest first."""
    folders = [place.absolute(), *place.absolute().parents][: ABOVE + 1]
    return [folder / name for folder in folders for name in names if (folder / name).is_file()]
