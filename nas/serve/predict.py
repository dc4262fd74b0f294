"""The classes of images, by a trained model: what `nas predict` prints.

Legend: B images of a batch, C channels, S side of the image, K classes that are reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.data.encoded import MAX_PIXELS
from nas.data.folders import EXTENSIONS, image_files
from nas.device import usable_device
from nas.errors import DataError, SpecError
from nas.serve.load import Loaded, load

BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """top: classes with their probabilities, the most probable first."""

    file: str
    top: tuple[tuple[str, float], ...]

    def as_dict(self) -> dict[str, Any]:
        """{file, class, probability, top: [{class, probability}, ...]}: plain data, as `--json` prints it.

        >>> Prediction("a.jpg", (("cat", 0.75), ("dog", 0.25))).as_dict()["class"]
        'cat'
        """
        ranked = [{"class": name, "probability": probability} for name, probability in self.top]
        return {"file": self.file, **ranked[0], "top": ranked}


def predict(
    winner: str | Path,
    images: str | Path | Iterable[str | Path],
    *,
    weights: str | Path | None = None,
    top: int = 5,
    device: str | None = None,
    max_pixels: int = MAX_PIXELS,
    on_error: Callable[[DataError], None] | None = None,
) -> list[Prediction]:
    """The most probable classes of each image, in the order given.

    winner: a genome file with weights, as for `nas.load`. images: files, and folders for all images in them.
    top: how many classes. device: by default a GPU if there is one. max_pixels: an image with more is not read.
    on_error: is told of an image that cannot be read, and the others go on; None raises at the first.

    Raises DataError for an image that cannot be read or a folder without images, else what `nas.load` raises.

    >>> predict("results/my_run/winners/w1-0007.yaml", ["a.jpg", "folder"])[0].top[0]
    ('cat', 0.97)
    """
    if top < 1:
        raise SpecError(f"expected at least one class, found {top}", path="top")
    loaded = load(winner, weights, usable_device(device), max_pixels=max_pixels)
    files = _files([images] if isinstance(images, (str, Path)) else images)
    found: list[Prediction] = []
    for start in range(0, len(files), BATCH):
        names, tensors = [], []
        for file in files[start : start + BATCH]:
            try:
                tensors.append(loaded.transform(file))
                names.append(str(file))
            except DataError as error:
                if on_error is None:
                    raise
                on_error(error)
        if names:
            found += _ranked(loaded, names, torch.stack(tensors), top)
    return found


@torch.inference_mode()
def _ranked(loaded: Loaded, files: list[str], images_BCSS: Tensor, top: int) -> list[Prediction]:
    device = next(loaded.model.parameters()).device
    shares = loaded.model(images_BCSS.to(device)).softmax(1).topk(min(top, len(loaded.class_names)))
    rows = zip(files, shares.indices.tolist(), shares.values.tolist(), strict=True)
    return [
        Prediction(file, tuple((loaded.class_names[k], share) for k, share in zip(labels, values, strict=True)))
        for file, labels, values in rows
    ]


def _files(images: Iterable[str | Path]) -> list[Path]:
    """Every image once for each time that it is named. Raises DataError for a folder without images."""
    files: list[Path] = []
    for path in map(Path, images):
        inside = image_files(path) if path.is_dir() else [path]
        if not inside:
            raise DataError(f"no images in this folder; looked for {', '.join(EXTENSIONS)}", file=path)
        files += inside
    return files
