"""How pixels reach a model: what an image goes through between its decoder and the first layer.

    shorter side resized to floor(size / crop) → centre crop of size × size → (x / 255 − mean) / std per channel

`crop` is timm's crop_pct, with its rounding (timm.data.transforms_imagenet_eval). A set of weights is right only with
the values that it was trained with, so they are written down wherever weights are.

Legend: B images of a batch, C channels, S side of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import ConfigDict, Field, model_serializer, model_validator
from torch import Tensor

from nas.keys import Keys

Interpolation = Literal["bilinear", "bicubic"]
MAX_SIDE = 16_384  # pixels, of an image as a model takes it: a slip of the keyboard is refused


class Preprocess(Keys):
    """mean, std: per channel, of pixels in 0..1.

    >>> Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), interpolation="bicubic", crop=0.9)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: tuple[float, ...] = Field(min_length=1, description="per channel, of pixels in 0..1")
    std: tuple[float, ...] = Field(min_length=1, description="per channel, of pixels in 0..1")
    interpolation: Interpolation = Field("bilinear", description="of the resize, which is antialiased")
    crop: float = Field(1.0, gt=0, le=1, description="timm's crop_pct: the shorter side becomes floor(size / crop)")

    @model_validator(mode="after")
    def _per_channel(self) -> Preprocess:
        if len(self.mean) != len(self.std):
            raise ValueError(f"expected as many values of std as of mean, found {len(self.std)} and {len(self.mean)}")
        if min(self.std) <= 0:
            raise ValueError(f"std divides the pixels: expected values above 0, found {min(self.std)}")
        return self

    @model_serializer
    def _whole(self) -> dict[str, Any]:
        """All four values, also those at their default: other programs read them."""
        return dict(self)

    def normaliser(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """A function from uint8 to normalised images in torch's default dtype, (..., C, S, S) on `device`."""
        mean_C11 = (255 * torch.tensor(self.mean))[:, None, None].to(device)
        std_C11 = (255 * torch.tensor(self.std))[:, None, None].to(device)
        return lambda images_BCSS: images_BCSS.to(mean_C11.dtype).sub_(mean_C11).div_(std_C11)
