"""`digits`: the handwritten digits that scikit-learn carries (from UCI's optical recognition set).

1,797 real images, 8×8, grey levels 0..16, 10 classes, nothing to download. The set has no test split of its own.
"""

from __future__ import annotations

import numpy as np
import torch

from nas.data.pictures import Arrays
from nas.data.registry import Raw, source


@source("digits")
def read(name: str) -> Raw:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images_NCHW = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    pictures = Arrays(torch.from_numpy(images_NCHW), np.asarray(digits.target, dtype=np.int64))
    return Raw(name, tuple(str(digit) for digit in range(10)), train=pictures, flip=False)
