"""From a source's name to three splits: which images go where, and in which form they are kept.

Rules, in this order:
1. Test. The dataset's own test split. Without one: its own validation split, which is what papers report where test
   labels are not public (ImageNet). Without that either: a fifth of the images, stratified, carved with a seed that is
   fixed here and not the run's, so that the test split is the same in every run, trial and table.
2. `limit` images are drawn from what is left, stratified, with the run's seed.
3. Validation. The dataset's own, if it has a test split as well (under a limit, that share of the limit); else the
   share `validation` of what is left after 1 and 2, stratified, with the run's seed. Every class keeps at least one
   image in training. With `validation` 0 there is none: all images but the test split's train, for winners that are
   trained again once everything is decided.

Images without labels are split as if all were of one class.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from nas.data import registry
from nas.data.encoded import MAX_PIXELS, EncodedImages
from nas.data.images import ImageSet, make_split, measure
from nas.data.partition import stratified, without
from nas.data.pictures import Concatenated, Form
from nas.data.preprocess import MAX_SIDE, Preprocess
from nas.data.registry import Raw
from nas.data.split import Subset
from nas.errors import DataError
from nas.seeds import derive

TEST_SHARE = 0.2
TEST_SEED = 0  # never the run's
LARGEST = 224  # side that is proposed where images are of several sizes
RESIDENT_BYTES = 2 * 2**30  # decoded size up to which a split is kept on the device


def load(
    source: str,
    *,
    size: int | None = None,
    validation: float = 0.2,
    seed: int = 0,
    limit: int | None = None,
    preprocess: Preprocess | None = None,
    base: Path | None = None,
    resident_bytes: int = RESIDENT_BYTES,
    max_pixels: int = MAX_PIXELS,
) -> ImageSet:
    """The dataset that `source` names, split into train, validation and test.

    source: "digits", a torchvision name such as "cifar10", "imagefolder:PATH", "parquet:PATH" or "webdataset:PATH".
        Of "images:PATH", which has no labels, `classes` is empty and every label is -1.
    size: side in pixels to which images are brought; None keeps their own, if they are square and all alike.
    validation: share of the training images to select on; 0: none, an official validation split trains too.
    seed: the run's seed, for validation and limit.
    limit: use at most this many training images, train and validation together; None uses all.
    preprocess: how images reach the model, in all three splits; None: bilinear, no crop, and the mean and std of the
        training split.
    base: where a relative PATH starts; None: the working directory.
    resident_bytes: a split up to this decoded size lives on the device, a larger one is decoded while it trains.
    max_pixels: an image with more is refused and not decoded; decoding takes up to 14 bytes a pixel.

    Raises DataError: an unknown name, missing or damaged files, images without pixels or with too many, labels out of
    range, a class without images, images of several sizes without `size`, a limit or share that leaves a split empty, a
    mean and std for another number of channels.

    >>> images = load("digits", limit=500)
    >>> len(images.train), len(images.validation), len(images.test)
    (400, 100, 359)
    """
    if not 0 <= validation < 1:
        raise DataError(f"validation is {validation}; expected a share of at least 0 and below 1")
    if max_pixels < 1:
        raise DataError(f"max_pixels is {max_pixels}; expected 1 at least")
    raw = registry.read(source, base)
    for pictures in (raw.train, raw.validation, raw.test):
        if isinstance(pictures, EncodedImages):
            pictures.max_pixels = max_pixels
    _check_labels(raw)
    places = {split: f" ({place})" for split, place in raw.origins.items()}
    given = {split: f"the dataset's own{places.get(split, '')}" for split in ("train", "validation", "test")}
    if validation == 0 and raw.validation is not None and raw.test is not None:
        raw = replace(raw, train=Concatenated(raw.train, raw.validation), validation=None)
        given["train"] += f" and its validation split{places.get('validation', '')}"
    form = _form(raw, size, preprocess)

    pool = np.arange(len(raw.train))
    own = raw.validation if raw.test is not None else None
    test = raw.test if raw.test is not None else raw.validation
    if test is not None:
        test_subset = Subset(test, np.arange(len(test)), form, raw.flip)
        held_out = f"the dataset's validation split{places.get('validation', '')}, as it has no test split with labels"
        test_origin = given["test"] if raw.test is not None else held_out
    else:
        carved = stratified(raw.train.labels, round(len(pool) * TEST_SHARE), TEST_SEED, leave=2)
        test_subset = Subset(raw.train, carved, form, raw.flip)
        pool = without(pool, carved)
        test_origin = f"carved, {TEST_SHARE:g} of all images by class, with a seed that never changes ({TEST_SEED})"
        given["train"] = f"what is left{places.get('train', '')}"

    if own is not None:
        held, held_indices = own, np.arange(len(own))
        validation_origin = given["validation"]
        if limit is not None and limit < len(pool) + len(own):
            held_indices = stratified(own.labels, min(round(limit * validation), len(own)), derive(seed, "validation"))
            limit -= len(held_indices)
            validation_origin += f", {validation:g} of training.limit drawn with seed {seed}"
    if limit is not None and limit < len(pool):
        given["train"] += f", {limit:,} images drawn with seed {seed}"
    pool = _limited(pool, raw, limit, seed)
    if own is None:
        count, labels = round(len(pool) * validation), raw.train.labels[pool]
        held, held_indices = raw.train, pool[stratified(labels, count, derive(seed, "validation"), leave=1)]
        pool = without(pool, held_indices)
        validation_origin = f"carved, {validation:g} of the training images by class, with seed {seed}"
        if validation == 0:
            validation_origin = "none: its images are trained on"
        else:
            given["train"] += ", less validation"
    for name, indices in (("validation", held_indices), ("test", test_subset.indices)):
        if not len(indices) and (name == "test" or validation > 0):
            raise DataError(f"{raw.name}: the {name} split is empty: too few images per class to share between splits")

    subset, held_subset = Subset(raw.train, pool, form, raw.flip), Subset(held, held_indices, form, raw.flip)
    measured = measure(subset, resident_bytes)
    used = preprocess or measured
    if 0 < held_subset.nbytes <= resident_bytes:
        held_subset.resident  # noqa: B018  decoded now, as train is: a damaged image is found before anything is trained
    return ImageSet(
        name=raw.name,
        classes=raw.classes,
        channels=form.channels,
        size=form.size,
        train=make_split(subset, used, resident_bytes),
        validation=make_split(held_subset, used, resident_bytes),
        test=make_split(test_subset, used, resident_bytes),
        preprocess=used,
        measured=used == measured,
        flip=raw.flip,
        origins={"train": given["train"], "validation": validation_origin, "test": test_origin},
        notes=(*raw.notes, *_notes(raw)),
    )


def absolute(source: str) -> str:
    """`parquet:../data` as a path that means the same in every process and on a later day.

    >>> absolute("digits")
    'digits'
    """
    kind, colon, path = str(source).partition(":")
    return f"{kind}:{Path(path).resolve()}" if colon else kind


def _check_labels(raw: Raw) -> None:
    """Labels index two classes or more, and none lacks training images. Without classes there is nothing to check."""
    if not len(raw.train):
        raise DataError(f"{raw.name}: no training images")
    if not raw.classes:
        return
    if len(raw.classes) == 1:
        seen = " ".join(raw.notes)
        message = f"one class, {raw.classes[0]!r}, teaches nothing: any model is right; is the path one level too high"
        raise DataError(f"{raw.name}: {message} or too low?" + (f" ({seen})" if seen else ""))
    double = next((name for at, name in enumerate(raw.classes) if name in raw.classes[:at]), None)
    if double is not None:
        raise DataError(f"{raw.name}: two classes are called {double!r}; give each a name of its own")
    for name, pictures in (("train", raw.train), ("validation", raw.validation), ("test", raw.test)):
        labels = pictures.labels if pictures is not None else np.zeros(0, np.int64)
        wrong = np.flatnonzero((labels < 0) | (labels >= len(raw.classes)))
        if len(wrong):
            row, allowed = int(wrong[0]), f"{raw.first} to {raw.first + len(raw.classes) - 1}"
            raise DataError(f"{raw.name}: {name} image {row} has label {labels[row] + raw.first}, allowed: {allowed}")
    absent = np.setdiff1d(np.arange(len(raw.classes)), raw.train.labels)
    if len(absent):
        raise DataError(
            f"{raw.name}: no training image of class {raw.classes[absent[0]]!r} (label {absent[0] + raw.first})"
        )


def _form(raw: Raw, size: int | None, preprocess: Preprocess | None) -> Form:
    """The form in which the images are used."""
    channels, shapes = raw.train.survey()
    for held in (raw.validation, raw.test):
        if channels == 1 and held is not None and held.survey()[0] == 3:
            channels = 3
    if preprocess is None:
        return Form(_side(raw, size, shapes), channels)
    if len(preprocess.mean) != channels:
        found = f"mean and std of {len(preprocess.mean)}"
        raise DataError(f"{raw.name}: images have {channels} channels, `preprocess` has {found}")
    return Form(_side(raw, size, shapes), channels, preprocess.interpolation, preprocess.crop)


def _notes(raw: Raw) -> list[str]:
    """What the surveys of the splits have found."""
    splits = {"train": raw.train, "validation": raw.validation, "test": raw.test}
    return [f"{name}: {part.note}" for name, part in splits.items() if part is not None and part.note is not None]


def _side(raw: Raw, size: int | None, shapes: set[tuple[int, int]]) -> int:
    """`size`, or the side that all images have."""
    if size is not None:
        if not 1 <= size <= MAX_SIDE:
            raise DataError(f"size is {size}; expected a side in pixels, at most {MAX_SIDE:,}")
        return size
    height, width = max(shapes)
    if len(shapes) > 1 or height != width:
        found = ", ".join(f"{w}×{h}" for h, w in sorted(shapes)[:3])
        middle = sorted(min(shape) for shape in shapes)[len(shapes) // 2]
        advice = f"give a size, such as image_size={min(LARGEST, max(16, middle // 16 * 16))}"
        raise DataError(f"{raw.name}: images are {found} (width×height); models take squares of one side: {advice}")
    return height


def _limited(pool: np.ndarray, raw: Raw, limit: int | None, seed: int) -> np.ndarray:
    if limit is None or limit >= len(pool):
        return pool
    if limit < len(raw.classes):
        raise DataError(f"limit leaves {limit} images; {raw.name} has {len(raw.classes)} classes, and each needs one")
    drawn: np.ndarray = pool[stratified(raw.train.labels[pool], limit, derive(seed, "limit"), least=1)]
    return drawn
