"""Full precision for the few sums that half precision cannot carry: products of N positive terms, and powers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Autocast off on the device of `like`, so that operands cast to float32 stay there.

    >>> with full_precision(q): kv = wide(k).transpose(-2, -1) @ wide(v)
    """
    if like.device.type == "meta":  # autocast does not know it
        return nullcontext()
    return torch.autocast(like.device.type, enabled=False)


def wide(t: Tensor) -> Tensor:
    """float16 and bfloat16 as float32; wider types as they are."""
    return t.to(torch.promote_types(t.dtype, torch.float32))
