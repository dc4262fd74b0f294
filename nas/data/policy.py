"""RandAugment and the like: operations that are drawn for each image, by torchvision's own transforms.

    randaugment          RandAugment (Cubuk et al., 2020): `ra_ops` operations of 14, all at `ra_magnitude` of 30
    trivialaugment       TrivialAugmentWide (Müller and Hutter, 2021): one operation at a random strength
    autoaugment[_...]    AutoAugment (Cubuk et al., 2019): the policy found on ImageNet, CIFAR-10 or SVHN
    three_augment        3-Augment (Touvron et al., DeiT III, 2022): one of grey, solarised and blurred
    color_jitter         brightness, contrast and saturation, after these; in timm it stands in place of them

Each image has a seed of its own, so that it is the same whichever process works on it. The seeds of an epoch are drawn
after the numbers of augment.py, which stay what they are without. The global generator is left as it was.
Pixels that an operation moves into the image have the mean colour, as in timm; interpolation is bilinear.

Legend: B images of a batch, N of the split, C channels, S side of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from nas.data.augment import Augment
from nas.data.pictures import Form
from nas.data.preprocess import Preprocess

if TYPE_CHECKING:
    from torchvision.transforms import v2

SOLARISED_FROM = 128  # both are DeiT III's
BLUR = (0.1, 2.0)  # standard deviation in pixels


class Policy:
    """The transforms of an image that are drawn from its own seed. `policy(images_BCSS, seeds_B)`: uint8 in and out."""

    def __init__(self, augment: Augment, form: Form, fill: list[float]):
        from torchvision.transforms import v2

        jitter = augment.color_jitter
        steps = [] if augment.auto_augment is None else [_operations(augment, form, fill)]
        steps += [v2.ColorJitter(jitter, jitter, jitter)] if jitter else []
        self.transform = v2.Compose(steps)

    def __call__(self, images_BCSS: Tensor, seeds_B: Sequence[int]) -> Tensor:
        made = []
        with torch.random.fork_rng(devices=[]):  # the transforms draw on the CPU, wherever the image is
            for image_CSS, seed in zip(images_BCSS, seeds_B, strict=True):
                torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the GPUs
                made.append(self.transform(image_CSS))
        return torch.stack(made)


def policy_of(augment: Augment | None, form: Form, preprocess: Preprocess) -> Policy | None:
    """The policy of an augmentation, None where it has none."""
    if augment is None or not (augment.auto_augment or augment.color_jitter):
        return None
    return Policy(augment, form, [255 * mean for mean in preprocess.mean])


def draw_seeds(count: int, generator: Generator) -> Tensor:
    """A seed for each of N images, (N,) int64, in the order in which they are shown."""
    return torch.randint(2**31, (count,), generator=generator)


def _operations(augment: Augment, form: Form, fill: list[float]) -> v2.Transform:
    from torchvision.transforms import InterpolationMode, v2

    bilinear = InterpolationMode.BILINEAR
    if augment.auto_augment == "randaugment":
        return v2.RandAugment(augment.ra_ops, augment.ra_magnitude, interpolation=bilinear, fill=fill)
    if augment.auto_augment == "trivialaugment":
        return v2.TrivialAugmentWide(interpolation=bilinear, fill=fill)
    if augment.auto_augment == "three_augment":
        kernel = min(9, 2 * form.size - 1)  # the padding is by reflection: below the size of the image
        grey = v2.Grayscale(form.channels)
        return v2.RandomChoice([grey, v2.RandomSolarize(SOLARISED_FROM, p=1.0), v2.GaussianBlur(kernel, BLUR)])
    found_on = str(augment.auto_augment).partition("_")[2] or "imagenet"
    return v2.AutoAugment(v2.AutoAugmentPolicy(found_on), interpolation=bilinear, fill=fill)
