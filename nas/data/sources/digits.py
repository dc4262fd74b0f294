"""`digits`: the handwritten digits that scikit-learn carries (from UCI's optical recognition set).

1,797 real images, 8×8, grey levels 0..16, 10 classes, nothing to download. The set has no test split of its own.

Its table is read from the package's folder: to import scikit-learn takes a second and 100 MB, in every process.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from nas.data.pictures import Arrays
from nas.data.registry import Raw, source


@source("digits")
def read(name: str) -> Raw:
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.submodule_search_locations is not None
    file = Path(package.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",")  # a row per image: 64 pixels, label
    images_NCHW = np.rint(table[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    pictures = Arrays(torch.from_numpy(images_NCHW), table[:, -1].astype(np.int64))
    return Raw(name, tuple(str(digit) for digit in range(10)), train=pictures, flip=False)
