"""A task: what genomes are trained on and how. Searches, ablations, single trainings and diagnoses each have one.

The dataset decides what a genome must take: `fitted` gives a genome the images' size, channels and classes, so that any
space or ablation runs on any data.
"""

from __future__ import annotations

from dataclasses import dataclass

from nas.data import ImageSet, load
from nas.errors import SpecError
from nas.genome import Genome
from nas.train.recipe import Training


@dataclass(frozen=True)
class Task:
    """`data` as for `nas.data.load`, paths absolute. seed: of the validation split and of the draw of `training.limit`.
    image_size: side in pixels that images are brought to; None keeps theirs.

    >>> Task("digits", Training(epochs=3)).load().size
    8
    """

    data: str
    training: Training
    seed: int = 0
    image_size: int | None = None

    def load(self) -> ImageSet:
        """The splits. Raises DataError."""
        training = self.training
        return load(
            self.data, size=self.image_size, validation=training.validation, seed=self.seed, limit=training.limit
        )


def fitted(genome: Genome, images: ImageSet) -> Genome:
    """The genome for these images. Raises SpecError, with the path below `base`, if it cannot take them."""
    size = {"image.size": images.size, "image.channels": images.channels, "classes": len(images.classes)}
    try:
        return genome.edit(size)
    except SpecError as error:
        raise error.within(file=f"{genome.name or 'base'} on {images.name}", path="base") from None
