"""A task: a dataset and a training recipe. Searches, ablations, single trainings and diagnoses each have one.

The dataset determines a genome's input and output: `fitted` sets image size, channels and classes from the images, and
any space or ablation runs on any data.
"""

from __future__ import annotations

import math
import socket
from contextlib import suppress
from dataclasses import dataclass, replace

from nas.data import MAX_PIXELS, ImageSet, Labels, Preprocess, check_labelled, check_readable, labelled, load
from nas.errors import DataError, SpecError
from nas.genome import Genome
from nas.train.recipe import Training


@dataclass(frozen=True)
class Task:
    """data: as for `nas.data.load`, with absolute paths. seed: of the validation split and of the subset that
    `training.limit` draws. image_size: side in pixels that images are resized to; None keeps their own. preprocess: how
    pixels reach the model; None measures mean and std on the training split. max_pixels: an image with more is refused
    and not decoded. labels: of images that have none of their own. digest: what the source has to hold
    (`ImageSet.digest`), on whichever machine it is loaded; None takes what is there.

    >>> Task("digits", Training(epochs=3)).load().size
    8
    """

    data: str
    training: Training
    seed: int = 0
    image_size: int | None = None
    preprocess: Preprocess | None = None
    max_pixels: int = MAX_PIXELS
    labels: Labels | None = None
    digest: str | None = None

    def held_to(self, images: ImageSet) -> Task:
        """The task for other machines: they may load these images only. images: as loaded, without `labels`."""
        return replace(self, digest=images.digest)

    def prepared(self) -> tuple[ImageSet, Task]:
        """The splits, all of which can be read, and the task held to them: what a run begins with. Raises DataError."""
        images = self.load()
        check_readable(images)
        return images, self.held_to(images)

    def load(self) -> ImageSet:
        """The splits. Raises DataError, also for other images than those of the digest."""
        training = self.training
        images = load(
            self.data,
            size=self.image_size,
            validation=training.validation,
            seed=self.seed,
            limit=training.limit,
            preprocess=self.preprocess,
            max_pixels=self.max_pixels,
        )
        if self.digest is not None and images.digest != self.digest:
            what = f"its images on {socket.gethostname()} are not those that the run was begun with"
            raise DataError(f"{images.name}: {what}; make them the same on every machine, and resume")
        return images if self.labels is None else labelled(images, self.labels)


def fitted(genome: Genome, images: ImageSet) -> Genome:
    """The genome with the size, channels and classes of the images, to be trained on them.

    Its `preprocess` and `class_names`, of an earlier training, are dropped: weights come with their own. Raises
    SpecError, with a path below `base`, and DataError for images without labels.
    """
    check_labelled(images)
    size = {"image.size": images.size, "image.channels": images.channels, "classes": len(images.classes)}
    try:
        return genome.edit(size | {"preprocess": None, "class_names": None})
    except SpecError as error:
        if fitting := _sizes_that_fit(genome, images.size):
            error = type(error)(f"{error.message}; image_size={' or '.join(fitting)} fits", path=error.path)
        raise error.within(file=f"{genome.name or 'base'} on {images.name}", path="base") from None


def _sizes_that_fit(genome: Genome, size: int) -> list[str]:
    """The sides next to `size`, below and above, that the strides of the genome divide; none where that is no way."""
    stride = math.prod(stage.patch for stage in genome.stages)
    sides = [side for side in (size // stride * stride, -(-size // stride) * stride) if 0 < side != size]
    fitting = []
    for side in sides:
        with suppress(SpecError):
            fitting.append(str(genome.edit({"image.size": side}).image.size))
    return fitting
