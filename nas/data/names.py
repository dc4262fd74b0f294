"""Which split a folder or file holds, by its name, in any case and with the usual words.

Train, training_set, train2017, TrainImages     train
val, Valid, validation-set, dev, eval           validation
test, Testing, test_images                      test
seg_train beside seg_test                       train, test: what the names share says nothing
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = {
    "train": ("train", "training", "trn"),
    "validation": ("val", "valid", "validation", "validate", "dev", "development", "eval", "evaluation"),
    "test": ("test", "testing", "tst"),
}
SPLIT_OF = {word: split for split, words in WORDS.items() for word in words}
FILLERS = (
    "part",
    "shard",
    "set",
    "sets",
    "split",
    "data",
    "dataset",
    "image",
    "images",
    "img",
    "imgs",
    "folder",
    "files",
)


def split_named(name: str) -> str | None:
    """ "train", "validation" or "test", if that is what the name says and all that it says.

    >>> split_named("Training_Set"), split_named("bullet train")
    ('train', None)
    """
    words = words_of(name)
    return SPLIT_OF.get(words[0]) if len(words) == 1 else None


def split_names(names: Iterable[str]) -> dict[str, list[str]]:
    """The names of each split that is there, in alphabetical order. Names of no split are left out.

    >>> split_names(["seg_train", "seg_test", "readme"])
    {'test': ['seg_test'], 'train': ['seg_train']}
    """
    names = sorted(names)
    found = {name: split for name in names if (split := split_named(name))}
    if "train" not in found.values():
        mixed = {name: _parted(name) for name in names}
        parted = {name: part for name, part in mixed.items() if part is not None}
        if len({rest for _, rest in parted.values()}) == 1 and {"train"} < {split for split, _ in parted.values()}:
            found = {name: split for name, (split, _) in parted.items()}
    splits: dict[str, list[str]] = {}
    for name, split in found.items():
        splits.setdefault(split, []).append(name)
    return splits


def split_among(name: str) -> str | None:
    """The split that one of several words says, if it is one word alone.

    >>> split_among("imagenet1k-train-0000"), split_among("train-or-test")
    ('train', None)
    """
    parted = _parted(name)
    return parted[0] if parted is not None else None


def nameless(name: str) -> bool:
    """Whether a folder's name is none of a class: `images`, `test`, `unknown`.

    >>> nameless("unlabelled"), nameless("cat")
    (True, False)
    """
    words = words_of(name)
    return all(word in SPLIT_OF or word in ("unknown", "unlabeled", "unlabelled", "all") for word in words)


def _parted(name: str) -> tuple[str, tuple[str, ...]] | None:
    """The split in a name of several words, and the other words; None without exactly one word for a split."""
    words = words_of(name)
    splits = [SPLIT_OF[word] for word in words if word in SPLIT_OF]
    return (splits[0], tuple(word for word in words if word not in SPLIT_OF)) if len(splits) == 1 else None


def words_of(name: str) -> list[str]:
    """The words of a name, without digits and without those that say nothing."""
    words = [_bare(word) for word in re.findall(r"[^\W\d_]+", name.lower())]
    return [word for word in words if word not in FILLERS]


def _bare(word: str) -> str:
    """`trainset` as `train`."""
    for filler in FILLERS:
        if word.endswith(filler) and word.removesuffix(filler) in SPLIT_OF:
            return word.removesuffix(filler)
    return word
