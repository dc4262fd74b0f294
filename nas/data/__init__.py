"""Datasets: one call gives train, validation and test, as batches on any device.

    >>> from nas.data import load
    >>> images = load("digits")
    >>> images.channels, images.size, len(images.classes)
    (1, 8, 10)
    >>> batch_BCHW, labels_B = next(images.train.batches(64, device="cpu", seed=0))
    >>> batch_BCHW.shape, batch_BCHW.dtype
    (torch.Size([64, 1, 8, 8]), torch.float32)

A source is "digits", a torchvision name ("cifar10"), "imagefolder:PATH", "parquet:PATH", "webdataset:PATH" or, without
labels, "images:PATH"; a new kind is one new file in `nas/data/sources/`, or a plug-in. The test split is the dataset's
own, or else carved with a seed that never changes; validation is carved from the rest with the run's seed. See `load`
for the rules.
"""

from __future__ import annotations

from nas.data.account import account_of
from nas.data.augment import Augment
from nas.data.encoded import MAX_PIXELS
from nas.data.fits import check_fits, check_labelled, check_readable
from nas.data.images import ImageSet
from nas.data.labels import Labels, labelled
from nas.data.load import absolute, load
from nas.data.preprocess import Preprocess
from nas.data.split import Split

__all__ = [
    "MAX_PIXELS",
    "Augment",
    "ImageSet",
    "Labels",
    "Preprocess",
    "Split",
    "absolute",
    "account_of",
    "check_fits",
    "check_labelled",
    "check_readable",
    "labelled",
    "load",
]
