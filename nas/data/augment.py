"""Random crop, mirror and erasing for a whole batch at once, on the device where the images live.

Legend: N images of the split, B of the batch, C channels, S side of the image, Q side with padding, U uniform numbers.

All randomness of an epoch is drawn beforehand on the CPU, one row of uniform numbers per image (`draw`). So there is no
synchronisation inside the epoch, the same seed means the same draws on a CPU and on a GPU, and switching one
augmentation on or off does not move the others: two arms of an ablation see the same crops.

The operations are those of torchvision.transforms.v2: RandomCrop(padding), RandomResizedCrop, RandomHorizontalFlip,
RandomErasing (Zhong et al., AAAI 2020). A split that is decoded while it trains (streaming.py) cuts the rectangle of a
resized crop from the image in its own size (`rectangle`), mirrors it, and leaves the others to the functions here.
RandAugment and the like are in policy.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field
from torch import Tensor

from nas.keys import Keys

ERASED_AREA = (0.02, 1 / 3)  # share of the image; both ranges are RandomErasing's
ERASED_RATIO = (0.3, 3.3)
CROP_RATIO = (3 / 4, 4 / 3)
UNIFORMS = 10  # per image: crop y, x, area, ratio; mirror; erase whether, area, ratio, y, x

AutoAugment = Literal[
    "randaugment", "trivialaugment", "autoaugment", "autoaugment_cifar10", "autoaugment_svhn", "three_augment"
]


class Augment(Keys):
    """What happens to a training image. The defaults suit small images; everything at 0, False and 1 switches it off.

    >>> Augment(erase=0.25).crop_padding is None
    True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    crop_padding: int | None = Field(
        None, ge=0, le=4096, description="zeros around it before a random crop; null: size // 8, and 0 below 16 pixels"
    )
    min_area: float = Field(1.0, gt=0, le=1, description="below 1: resized crop of at least this share, not padding")
    flip: bool = Field(True, description="mirror half of the images, where the dataset allows it")
    erase: float = Field(0.0, ge=0, le=1, description="probability that a random rectangle is blanked")
    auto_augment: AutoAugment | None = Field(
        None, description="torchvision's RandAugment, TrivialAugmentWide or AutoAugment, or DeiT III's 3-Augment"
    )
    ra_ops: int = Field(2, ge=1, le=100, description="of randaugment: operations on each image")
    ra_magnitude: int = Field(9, ge=0, le=30, description="of randaugment: strength, of 30 (timm's m9 of 10 is 27)")
    color_jitter: float = Field(0.0, ge=0, le=1, description="range of brightness, contrast and saturation; 0 is off")
    repeats: int = Field(
        1,
        ge=1,
        le=100,
        description="repeated augmentation: views of an image in a row; an epoch has so many fewer images",
    )

    def padding(self, size: int) -> int:
        """Pixels of padding for images of side `size`."""
        if self.crop_padding is not None:
            return self.crop_padding
        return size // 8 if size >= 16 else 0  # one pixel of eight costs more than it teaches


def draw(count: int, generator: torch.Generator) -> Tensor:
    """The randomness of an epoch: uniform numbers, float32 (N, U), row n for the n-th image that is shown."""
    return torch.rand(count, UNIFORMS, generator=generator)


def crop_and_flip(images_BCSS: Tensor, draws_BU: Tensor, augment: Augment, *, flip: bool) -> Tensor:
    """A batch of uint8 images (B, C, S, S), each cropped at its own place and mirrored or not; same shape and dtype."""
    if augment.min_area < 1:
        images_BCSS = _resized_crop(images_BCSS, draws_BU, augment.min_area)
    elif padding := augment.padding(images_BCSS.shape[-1]):
        images_BCSS = _padded_crop(images_BCSS, draws_BU, padding)
    if augment.flip and flip:
        images_BCSS = torch.where((draws_BU[:, 4] < 0.5)[:, None, None, None], images_BCSS.flip(-1), images_BCSS)
    return images_BCSS


def _padded_crop(images_BCSS: Tensor, draws_BU: Tensor, padding: int) -> Tensor:
    batch, _, _, size = images_BCSS.shape
    padded_BCQQ = F.pad(images_BCSS, (padding,) * 4)
    windows_BCYXSS = padded_BCQQ.unfold(2, size, 1).unfold(3, size, 1)  # a view: every window, nothing copied
    top_B, left_B = (draws_BU[:, :2] * (2 * padding + 1)).long().clamp(max=2 * padding).unbind(1)
    return windows_BCYXSS[torch.arange(batch, device=images_BCSS.device), :, top_B, left_B]


def _resized_crop(images_BCSS: Tensor, draws_BU: Tensor, min_area: float) -> Tensor:
    """Each image's own rectangle, enlarged back to S×S (bilinear). No antialiasing is needed: nothing shrinks."""
    area_B = min_area + (1 - min_area) * draws_BU[:, 2]
    ratio_B = _log_uniform(draws_BU[:, 3], CROP_RATIO)
    height_B, width_B = (area_B / ratio_B).sqrt().clamp(max=1), (area_B * ratio_B).sqrt().clamp(max=1)
    theta_B23 = torch.zeros(len(images_BCSS), 2, 3, device=images_BCSS.device)
    theta_B23[:, 0, 0], theta_B23[:, 0, 2] = width_B, (1 - width_B) * (2 * draws_BU[:, 1] - 1)
    theta_B23[:, 1, 1], theta_B23[:, 1, 2] = height_B, (1 - height_B) * (2 * draws_BU[:, 0] - 1)
    grid_BSS2 = F.affine_grid(theta_B23, list(images_BCSS.shape), align_corners=False)
    cropped = F.grid_sample(images_BCSS.float(), grid_BSS2, padding_mode="reflection", align_corners=False)
    return cropped.round_().clamp_(0, 255).to(torch.uint8)


def rectangle(height: int, width: int, draws_U: Sequence[float], min_area: float) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a resized crop from an image in its own size, by the image's uniform numbers.

    >>> rectangle(100, 200, (0.0, 0.0, 1.0, 0.5), min_area=0.5)
    (0, 0, 100, 141)
    """
    y, x, area, ratio = draws_U[:4]
    share = min_area + (1 - min_area) * area
    low, high = (math.log(bound) for bound in CROP_RATIO)
    aspect = math.exp(low + (high - low) * ratio) * height / width  # of shares: the crop itself has CROP_RATIO
    rows = max(1, round(height * min(1.0, math.sqrt(share / aspect))))
    columns = max(1, round(width * min(1.0, math.sqrt(share * aspect))))
    return int(y * (height - rows + 1)), int(x * (width - columns + 1)), rows, columns


def mirrored(draws_U: Sequence[float]) -> bool:
    """Whether an image is mirrored, by its uniform numbers."""
    return draws_U[4] < 0.5


def erase(images_BCSS: Tensor, draws_BU: Tensor, probability: float) -> Tensor:
    """Normalised float images with a random rectangle set to 0, the mean colour, in about `probability` of them."""
    if not probability:
        return images_BCSS
    size = images_BCSS.shape[-1]
    area_B = (ERASED_AREA[0] + (ERASED_AREA[1] - ERASED_AREA[0]) * draws_BU[:, 6]) * size * size
    ratio_B = _log_uniform(draws_BU[:, 7], ERASED_RATIO)
    extent_B2 = torch.stack([(area_B * ratio_B).sqrt(), (area_B / ratio_B).sqrt()], dim=1).round().clamp(1, size)
    extent_B2 = extent_B2 * (draws_BU[:, 5] < probability)[:, None]  # an image that is spared has an empty rectangle
    start_B2 = (draws_BU[:, 8:10] * (size + 1 - extent_B2)).floor()
    pixel_S = torch.arange(size, device=images_BCSS.device)
    inside_B2S = (pixel_S >= start_B2[..., None]) & (pixel_S < (start_B2 + extent_B2)[..., None])
    mask_BSS = inside_B2S[:, 0, :, None] & inside_B2S[:, 1, None, :]
    return images_BCSS.masked_fill(mask_BSS[:, None], 0)


def _log_uniform(draws_B: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = math.log(bounds[0]), math.log(bounds[1])
    return (low + (high - low) * draws_B).exp()
