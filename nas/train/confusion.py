"""Which classes a model takes for which: the confusion matrix of a split, as the cells that are not zero.

    C[t, a] = number of images of class t that are answered with class a;   accuracy = Σ C[t, t] / Σ C

A thousand classes make a million cells, of which the images of a split fill few; so files have (t, a, C[t, a]).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Cell = Sequence[int]  # of three: class, class answered, images


def confusion(answers_N: Tensor, labels_N: Tensor) -> list[Cell]:
    """The cells above zero, by class and then by answer.

    >>> confusion(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    [(0, 0, 1), (0, 1, 1), (1, 1, 1)]
    """
    pairs_M2, counts_M = torch.stack((labels_N, answers_N), 1).unique(dim=0, return_counts=True)
    return [(label, answer, count) for (label, answer), count in zip(pairs_M2.tolist(), counts_M.tolist(), strict=True)]


def by_class(cells: Sequence[Cell], names: Sequence[str]) -> list[dict[str, Any]]:
    """{class, images, accuracy} of each class, in order; accuracy is a fraction, None for a class without images.

    >>> by_class([(0, 0, 1), (0, 1, 1), (1, 1, 1)], ["cat", "dog"])[0]
    {'class': 'cat', 'images': 2, 'accuracy': 0.5}
    """
    images, right = [0] * len(names), [0] * len(names)
    for label, answer, count in cells:
        images[label] += count
        right[label] += count * (label == answer)
    return [
        {"class": name, "images": total, "accuracy": good / total if total else None}
        for name, total, good in zip(names, images, right, strict=True)
    ]
