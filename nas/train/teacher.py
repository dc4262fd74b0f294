"""A teacher beside its student: the model, the student's images as the teacher's pixels, the layers that correspond.

A student's batch is normalised with the mean and std of its dataset; a model of timm or torchvision brings its own:

    x' = (pixels - mean') / std' = x · std / std' + (mean - mean') / std'    then bilinear resize to the teacher's size

A grey image becomes three equal channels by the same formula. Weights of an earlier version do not say how pixels reach
them; such a teacher takes the student's mean and std. The crop before the resize is the student's.

Shapes: B images of a batch, C channels, H × W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data import ImageSet
from nas.errors import GenomeError, SpecError, shown
from nas.genome import Genome, load_genome
from nas.genome.layout import StagePlan
from nas.model import Model, build
from nas.model.build import weights_beside
from nas.model.pixels import described
from nas.timm.spelling import InputFormat, is_outside


class Loaded(NamedTuple):
    """A teacher's model; what its classes are called, in its order, where that is known; what it expects of images."""

    model: Any
    classes: int
    names: tuple[str, ...] | None
    pixels: InputFormat


def load_teacher(source: str, weights: str | None, images: ImageSet, *, layers: bool) -> Loaded:
    """The model that `teacher:` names.

    images: the student's. layers: hidden states are asked for, so a model of timm is converted to ours. Raises
    SpecError.

    >>> load_teacher("results/run/winners/w1-0007.yaml", None, load("digits"), layers=True).classes
    10
    """
    if not is_outside(source):
        chosen = load_genome(source)
        file = Path(weights) if weights else weights_beside(source)
        return as_teacher(build(chosen, weights=file), described(chosen, file), images)
    from nas.timm.convert import from_timm  # import timm, which takes seconds
    from nas.timm.outside import outside_model, preprocess_of

    model: Any = outside_model(source)
    classes, names = int(model.num_classes), model.pretrained_cfg.get("label_names")
    usable = (
        isinstance(names, list | tuple)
        and len({name for name in names if isinstance(name, str)}) == len(names) == classes
    )
    found = Loaded(model, classes, tuple(names) if usable else None, preprocess_of(model))
    if not layers:
        return found
    try:
        return found._replace(model=from_timm(model))
    except SpecError as error:
        message = f"hidden states are compared layer by layer, and the layers of {source} are unknown here"
        raise GenomeError(f"{message} ({error}); remove hidden", path="hidden") from None


def as_teacher(model: Model, genome: Genome, images: ImageSet) -> Loaded:
    """A model of ours. genome: the model's, with how pixels reach it and its class names, where that is known."""
    pixels = genome.preprocess or images.preprocess
    expected = InputFormat(
        mean=pixels.mean,
        std=pixels.std,
        interpolation=pixels.interpolation,
        crop=pixels.crop,
        size=genome.image.size,
        channels=genome.image.channels,
    )
    return Loaded(model, genome.classes, genome.class_names, expected)


def class_order(names: tuple[str, ...] | None, wanted: tuple[str, ...]) -> list[int] | None:
    """Where the student's classes stand among the teacher's; None: in the same places, or nobody knows.

    Classes without names are called by their numbers, which say nothing beside names. Raises GenomeError if both have
    names and these are not the same.

    >>> class_order(("cat", "dog"), ("dog", "cat"))
    [1, 0]
    """
    if names is None or names == wanted:
        return None
    unknown = [name for name in wanted if name not in names]
    if not unknown:
        return [names.index(name) for name in wanted]
    if _numbers(names) or _numbers(wanted):
        return None
    message = f"the teacher has no class {shown(unknown[0])}, as the images have; its classes are {shown(list(names))}"
    what = "class_names into the teacher's genome file, or as label_names into timm's config.json"
    raise GenomeError(f"{message}; if they mean the same, write the images' names in its order as {what}")


def _numbers(names: tuple[str, ...]) -> bool:
    return names == tuple(str(number) for number in range(len(names)))


class Pixels:
    """A function from the student's normalised images (B, C, H, W) to the teacher's; see the head of this file.

    Raises GenomeError for a teacher with other channels.
    """

    def __init__(self, images: ImageSet, expected: InputFormat, device: torch.device):
        channels, self.size = expected["channels"], expected["size"]
        if images.channels not in (1, channels):
            raise GenomeError(f"the teacher's channels must be the student's {images.channels}, found {channels}")
        mean_C, std_C = torch.tensor(images.preprocess.mean), torch.tensor(images.preprocess.std)
        new_mean_C, new_std_C = torch.tensor(expected["mean"]), torch.tensor(expected["std"])
        self.scale_C11 = (std_C / new_std_C).expand(channels)[:, None, None].to(device)
        self.shift_C11 = ((mean_C - new_mean_C) / new_std_C)[:, None, None].to(device)

    def __call__(self, images_BCHW: Tensor) -> Tensor:
        images_BCHW = images_BCHW * self.scale_C11 + self.shift_C11
        if images_BCHW.shape[-1] == self.size:
            return images_BCHW
        return F.interpolate(images_BCHW, (self.size, self.size), mode="bilinear", antialias=True)


def layer_pairs(student: Genome, teacher: Genome) -> list[tuple[str, str]]:
    """The layers whose hidden states are compared, by name: all of a stage, or its last where the depths differ.

    Raises GenomeError unless both have the same stages in width and tokens.

    >>> layer_pairs(load_genome("lavit_digits"), load_genome("lavit_digits"))[0]
    ('stages.0.layers.0', 'stages.0.layers.0')
    """
    ours, theirs = [_form(stage) for stage in student.layout], [_form(stage) for stage in teacher.layout]
    if ours != theirs:
        raise GenomeError(
            f"hidden states need a teacher with the student's stages, of any depth: expected {'; '.join(ours)}, found "
            f"{'; '.join(theirs)}; take such a teacher, or remove hidden",
            path="hidden",
        )
    pairs = []
    for own, other in zip(student.layout, teacher.layout, strict=True):
        first = 0 if len(own.layers) == len(other.layers) else -1
        pairs += [(a.name, b.name) for a, b in zip(own.layers[first:], other.layers[first:], strict=True)]
    return pairs


def _form(stage: StagePlan) -> str:
    prefix = f"{stage.prefix} + " if stage.prefix else ""
    return f"width {stage.width}, {prefix}{stage.grid[0]}×{stage.grid[1]} tokens"
