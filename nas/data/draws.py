"""The random numbers of an epoch, drawn as its batches ask for them: N rows, of which two blocks or so are kept.

A generator of the CPU gives its numbers one after the other, so that blocks in order have the numbers of one call for
all rows. A training that an earlier version began, which made that call, goes on with the same batches. What comes
after the rows in the stream, as the seeds of a policy come after the draws, starts from a generator that has passed
them.

Legend: N images of the split, B of a batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

BLOCK = 2**14  # rows

Draw = Callable[[int, Generator], Tensor]  # so many rows


class Rows:
    """`rows(places_B)`: the rows at these places. The first place of a batch is never before that of an earlier one.

    >>> rows = Rows(draw, torch.Generator().manual_seed(0))
    >>> torch.equal(rows(torch.tensor([70_000, 5])), draw(10**5, torch.Generator().manual_seed(0))[[70_000, 5]])
    True
    """

    def __init__(self, draw: Draw, generator: Generator):
        self.draw, self.generator = draw, generator.clone_state()
        self.start = 0  # the place of the first row that is kept
        self.kept = draw(0, self.generator)

    def __call__(self, places_B: Tensor) -> Tensor:
        first, last = int(places_B.min()), int(places_B.max())
        while self.start + len(self.kept) <= last:
            passed = min(max(first - self.start, 0), len(self.kept))
            self.start += passed
            self.kept = torch.cat([self.kept[passed:], self.draw(BLOCK, self.generator)])
        return self.kept[places_B - self.start]


def passed(count: int, draw: Draw, generator: Generator) -> Generator:
    """The generator as it is after so many rows."""
    after = generator.clone_state()
    for start in range(0, count, BLOCK):
        draw(min(BLOCK, count - start), after)
    return after
