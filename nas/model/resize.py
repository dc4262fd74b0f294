"""Tables that belong to a grid of tokens, interpolated for another grid (bicubic): positions and relative biases.

Legend: N tokens, C width, H heads, E = 2h − 1 offsets along a side of the grid.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.genome.layout import StagePlan


def resized_position(table_1NC: Tensor, before: StagePlan, after: StagePlan) -> Tensor:
    """The positions of a stage for another grid; the rows of prefix tokens, if any, come first and stay as they are."""
    from timm.layers import resample_abs_pos_embed  # slow to import (nas/model/branch.py)

    prefix = table_1NC.shape[1] - before.grid[0] * before.grid[1]
    resized_1NC: Tensor = resample_abs_pos_embed(table_1NC, [*after.grid], [*before.grid], prefix)
    return resized_1NC


def resized_relative(table_EH: Tensor, entries: int) -> Tensor:
    """A relative-bias table (entries, H) for another square grid; those of prefix tokens stay, or are zero if new."""
    sides = [(math.isqrt(count) - 1) | 1 for count in (len(table_EH), entries)]  # odd: 2h − 1
    grid_1HEE = table_EH[: sides[0] ** 2].T.float().unflatten(1, (sides[0], sides[0]))[None]
    resized = F.interpolate(grid_1HEE, (sides[1], sides[1]), mode="bicubic", align_corners=True)[0].flatten(1).T
    prefix_EH = table_EH.new_zeros(entries - sides[1] ** 2, table_EH.shape[1])
    prefix_EH[: len(table_EH) - sides[0] ** 2] = table_EH[sides[0] ** 2 :][: len(prefix_EH)]
    return torch.cat((resized.to(table_EH.dtype), prefix_EH))
