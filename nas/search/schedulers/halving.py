"""Successive halving: most trials train for few epochs, the better ones longer, few to the end.

    rungs: first, first·factor, first·factor², … epochs, the last of which is the whole training
    of the n trials known at a rung, the best ⌊n / factor⌋ are promoted: they continue from their checkpoints

Promotion is asynchronous (ASHA: Li et al., MLSys 2020): no worker waits for a rung to fill. A free worker takes a
promotion from the highest rung that has one, otherwise a new trial. With several objectives, "better" is NSGA-II's
order, as in MO-ASHA (Schmucker et al., 2021): the non-dominated rank within the rung, then the crowding distance. A
rung thus promotes its whole front, not the neighbours of one point. With one objective this is plain ASHA. Costs known
by formula are the same at every rung; accuracies are compared only within a rung, at equal numbers of epochs.

The default is one rung, at half of the training. Earlier rungs know too little: on tables with the accuracy of every
epoch (benchmarks/fidelity.py), τ of the first epoch with the last is 0.26 and 0.27.

Every genome is trained once: halving does not support `repeat`.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from nas.errors import SpaceError
from nas.search.pareto import Ranks
from nas.search.schedulers.base import SCHEDULERS, Scheduler, SchedulerOptions


@SCHEDULERS.add("halving")
class SuccessiveHalving(Scheduler):
    """Asynchronous; its rungs are epochs.

    >>> SuccessiveHalving(SuccessiveHalving.Options(name="halving", first=1, factor=3), 15).rungs
    [1, 3, 9, 15]
    """

    class Options(SchedulerOptions):
        first: int | None = Field(
            None, ge=1, le=1_000_000, description="epochs of the first rung; null: half of the training"
        )
        factor: int = Field(
            2, ge=2, le=1_000_000, description="one in so many is promoted, to so many times the epochs"
        )

    adaptive = True
    repeats = False

    def __init__(self, options: Options, epochs: int):
        super().__init__(options, epochs)
        first = -(-epochs // 2) if options.first is None else options.first
        if first >= epochs:
            message = f"the first rung, {first} epochs, is the whole training of {epochs}"
            raise SpaceError(message, path="first")
        self.factor = options.factor
        self.rungs = [first]
        while self.rungs[-1] < epochs:
            self.rungs.append(self.rungs[-1] * self.factor)
        self.rungs[-1] = epochs
        self._numbers: list[list[int]] = [[] for _ in self.rungs]  # trials of each rung, in order of arrival
        self._ranks: list[Ranks | None] = [None for _ in self.rungs]
        self._promotable: list[list[int]] = [[] for _ in self.rungs]  # the best ⌊n / factor⌋, best first
        self._promoted: list[set[int]] = [set() for _ in self.rungs]
        self._withdrawn: set[int] = set()

    def start(self) -> int:
        return self.rungs[0]

    def mean_epochs(self) -> float:
        steps = zip([0, *self.rungs], self.rungs, strict=False)
        return float(sum((end - begin) / self.factor**rung for rung, (begin, end) in enumerate(steps)))

    def pause(self, number: int, until: int, point_M: np.ndarray) -> None:
        rung = self.rungs.index(until)
        ranks = self._ranks[rung] = self._ranks[rung] or Ranks(len(point_M))
        ranks.add(point_M)
        numbers = self._numbers[rung]
        numbers.append(number)
        self._promotable[rung] = [numbers[index] for index in ranks.best(len(numbers) // self.factor)]

    def promote(self) -> tuple[int, int | None] | None:
        """From the highest rung first, and its best trial first."""
        last = len(self.rungs) - 1
        for rung in reversed(range(last)):
            for number in self._promotable[rung]:
                if number not in self._promoted[rung] and number not in self._withdrawn:
                    self._promoted[rung].add(number)
                    return number, None if rung + 1 == last else self.rungs[rung + 1]
        return None

    def looks_final(self, number: int, until: int) -> bool:
        return number not in self._promotable[self.rungs.index(until)]

    def withdraw(self, number: int) -> None:
        self._withdrawn.add(number)

    def reason(self, epochs: int) -> str:
        return f"paused after {epochs} epochs, and not among the 1 in {self.factor} that go on"
