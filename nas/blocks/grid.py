"""Tokens in their order, and the same tokens on their grid: the two shapes between which convolutions go.

A grid is a (B, C, h, w) view whose memory is that of the tokens, channels last, so that neither way copies. Prefix
tokens have no place on it: each block says what becomes of them.
"""

from __future__ import annotations

from torch import Tensor


def to_grid(x_BNC: Tensor, grid: tuple[int, int], prefix: int = 0) -> Tensor:
    """(B, C, h, w), without the prefix tokens.

    >>> to_grid(torch.rand(2, 17, 32), (4, 4), prefix=1).shape
    torch.Size([2, 32, 4, 4])
    """
    x_BChw: Tensor = x_BNC[:, prefix:].unflatten(1, grid).permute(0, 3, 1, 2)
    return x_BChw


def to_tokens(x_BChw: Tensor) -> Tensor:
    """(B, h·w, C)."""
    return x_BChw.permute(0, 2, 3, 1).flatten(1, 2)
