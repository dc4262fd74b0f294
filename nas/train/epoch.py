"""An epoch while it runs: its losses, step by step, and what a checkpoint within it holds.

A checkpoint within an epoch has the number of batches seen, their losses, the seconds spent and the states of torch's
global generators, from which dropout and mixing are drawn. Order and augmentation of the images follow from the epoch's
seed alone (nas/data/split.py).

Legend: S steps so far.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from nas.train.ranks import Ranks


class Epoch:
    """An epoch from its start, or from where a checkpoint within it was written (`within`, of `state_dict`).

    >>> epoch = Epoch({}, torch.device("cpu"), Ranks())
    >>> epoch.add({"loss": loss})
    >>> epoch.series()["loss"].mean()
    """

    def __init__(self, within: dict[str, Any], device: torch.device, ranks: Ranks):
        self.device, self.ranks = device, ranks
        self.begun = self.written = time.perf_counter()
        self.begun -= within.get("seconds", 0.0)
        self.step: int = within.get("step", 0)  # batches seen
        self._terms: dict[str, list[Tensor]] = defaultdict(list)
        for name, values_S in within.get("series", {}).items():
            self._terms[name] = list(values_S.to(device))
        if within:
            torch.set_rng_state(within["generator"])
            if "cuda_generator" in within:
                torch.cuda.set_rng_state(within["cuda_generator"], device)

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.begun

    def add(self, terms: dict[str, Tensor]) -> None:
        """The losses of one more batch, which stay on the device."""
        self.step += 1
        for name, value in terms.items():
            self._terms[name].append(value.detach())

    def series(self) -> dict[str, Tensor]:
        """The losses by name, (S,) each, over all ranks."""
        exact = torch.get_default_dtype()  # bfloat16 is too coarse for sums over an epoch
        return {name: self.ranks.mean(torch.stack(values_S).to(exact)) for name, values_S in self._terms.items()}

    def due(self, minutes: float | None) -> bool:
        """Whether so much time has passed since the last checkpoint. The first rank's clock counts."""
        if minutes is None:
            return False
        return self.ranks.told(lambda: time.perf_counter() - self.written > 60 * minutes)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint that is written now, after the last batch of an update."""
        self.written = time.perf_counter()
        state = {"step": self.step, "seconds": self.seconds, "series": self.series()}
        state |= {"generator": torch.get_rng_state()}
        if self.device.type == "cuda":
            state |= {"cuda_generator": torch.cuda.get_rng_state(self.device)}
        return state
