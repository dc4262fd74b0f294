"""The average of the weights that is evaluated: timm's ModelEmaV3, which looks its tensors up once.

    average ← decay · average + (1 - decay) · weights        after each update

timm asks both models for their state dicts at each update. For a model of 150 k parameters that is 5 % of a training
step, more than the average itself. Values are timm's, bit by bit.
"""

from __future__ import annotations

import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn


class WeightAverage(ModelEmaV3):
    """Of one model, whose tensors stay where they are from the first update on.

    >>> average = WeightAverage(model, decay=0.99, use_warmup=True)
    >>> average.update(model, step=1)
    >>> average.module  # in eval mode
    """

    _pairs: tuple[list[Tensor], list[Tensor], list[tuple[Tensor, Tensor]]] | None = None

    def apply_update_(self, model: nn.Module, decay: float) -> None:
        if self._pairs is None:
            pairs = list(zip(self.module.state_dict().values(), model.state_dict().values(), strict=True))
            averaged = [pair for pair in pairs if pair[0].is_floating_point()]
            counters = [pair for pair in pairs if not pair[0].is_floating_point()]
            self._pairs = [ours for ours, _ in averaged], [theirs for _, theirs in averaged], counters
        ours, theirs, counters = self._pairs
        torch._foreach_lerp_(ours, theirs, weight=1 - decay)
        for our, their in counters:
            our.copy_(their)
