"""Successive halving: most trials are trained a little, the better ones longer, few to the end.

    rungs: first, first·factor, first·factor², … epochs, and at last all of them
    of the n trials known at a rung, the best ⌊n / factor⌋ are promoted: they train on, from their checkpoint

Promotion is asynchronous (ASHA: Li et al., MLSys 2020): nobody waits for a rung to fill, a free worker takes the
promotion that is due on the highest rung, else a new trial. With several objectives, "better" is NSGA-II's order, as in
MO-ASHA (Schmucker et al., 2021): the non-dominated rank within the rung, then the crowding distance, so that a rung
sends on its whole front and not the neighbours of one point. With one objective this is plain ASHA. Costs known by
formula count at every rung as they are; accuracy is compared among trials of equally many epochs, never across rungs.

What is paused when the search ends stays `pruned`, and is never on the front.
"""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from nas.search.ranks import Ranks


class Halving(BaseModel):
    """The `halving:` section.

    >>> Halving(first=1, factor=3).rungs(15)
    [1, 3, 9, 15]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    first: int = Field(1, ge=1, description="epochs of the first rung")
    factor: int = Field(3, ge=2, description="one in so many goes on, to so many times the epochs")

    def rungs(self, epochs: int) -> list[int]:
        """Epochs behind a trial at each rung; the last one is the whole training."""
        rungs = [self.first]
        while rungs[-1] < epochs:
            rungs.append(rungs[-1] * self.factor)
        return [*rungs[:-1], epochs]


class Ladder:
    """Who stands where, and who is to go on. Trials are numbers; a point is one cost per objective, less is better."""

    def __init__(self, rungs: list[int], factor: int):
        self.rungs, self.factor = rungs, factor
        self._numbers: list[list[int]] = [[] for _ in rungs]  # in the order in which they came
        self._ranks: list[Ranks | None] = [None for _ in rungs]
        self._promoted: list[set[int]] = [set() for _ in rungs]
        self._out: set[int] = set()
        self._order: list[list[int]] = [[] for _ in rungs]  # those who go on, best first

    def hear(self, number: int, level: int, point_M: np.ndarray) -> None:
        """A trial has come to the rung `level` (0 is the first)."""
        ranks = self._ranks[level] = self._ranks[level] or Ranks(len(point_M))
        ranks.add(point_M)
        numbers = self._numbers[level]
        numbers.append(number)
        self._order[level] = [numbers[index] for index in ranks.best(len(numbers) // self.factor)]

    def give_up(self, number: int) -> None:
        """A trial that will never be promoted again; what it reached still counts."""
        self._out.add(number)

    def promising(self, number: int, level: int) -> bool:
        """Whether a trial is, for now, among those of its rung that go on."""
        return number in self._order[level]

    def promotion(self) -> tuple[int, int] | None:
        """(trial, its next level), the highest rung first, the best trial first; None if no promotion is due."""
        for level in range(len(self.rungs) - 2, -1, -1):
            for number in self._order[level]:
                if number not in self._promoted[level] and number not in self._out:
                    self._promoted[level].add(number)
                    return number, level + 1
        return None
