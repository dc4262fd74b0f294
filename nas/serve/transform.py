"""The transform of a trained model: from an image, as a service gets it, to what the model takes.

    decode (nas/data/pixels.py) → Form.fit (nas/data/pictures.py) → Preprocess.normaliser (nas/data/preprocess.py)

These are the steps of evaluation, in the same code. A file gives bit for bit what it gives in a test split.

Legend: C channels, S side of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nas.data import Preprocess
from nas.data.encoded import MAX_PIXELS, decode
from nas.data.pictures import Form
from nas.data.pixels import pixels_of
from nas.errors import DataError
from nas.files import regular

Picture = str | Path | bytes | bytearray | memoryview | Image.Image


@dataclass(frozen=True)
class Transform:
    """A function from an image (a path, encoded bytes, or PIL's) to float32 (C, S, S). It can be pickled.

    Raises DataError for a file that is missing, damaged, an animation, or has more than `max_pixels`.

    >>> dataset = torchvision.datasets.ImageFolder("pets/test", nas.load("winner.yaml").transform)
    """

    preprocess: Preprocess
    form: Form
    max_pixels: int = MAX_PIXELS

    def __call__(self, image: Picture) -> Tensor:
        pixels_CSS = self.form.fit(self._pixels(image))
        return self.preprocess.normaliser(torch.device("cpu"))(pixels_CSS)

    def _pixels(self, image: Picture) -> Tensor:
        if isinstance(image, Image.Image):
            return pixels_of(image, self.form.channels)
        if not isinstance(image, (str, Path)):
            return decode(bytes(image), self.form.channels, self.max_pixels)
        try:
            return decode(regular(Path(image)).read_bytes(), self.form.channels, self.max_pixels)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", file=image) from None
        except DataError as error:
            raise error.within(image) from None
