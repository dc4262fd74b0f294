"""Unit vectors x / ‖x‖ of queries and keys, with a gradient that half precision can hold."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    """x / ‖x‖ over the last axis; zero stays zero. The norm is taken in float32, where half precision overflows.

    The gradient of a zero vector is 10⁶ times the next one, which float16 cannot hold: there it is 0 (`inverse_norm`).
    """
    if is_float16(x):
        return (inverse_norm(x) * x).to(x.dtype)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
    unit_x: Tensor = x / norm.clamp_min(1e-6).to(x.dtype)
    return unit_x


def is_float16(x: Tensor) -> bool:
    """Whether x is float16. While torch.fx traces, its type is not known yet, and the graph is that of wider types."""
    return not isinstance(x, torch.fx.Proxy) and x.dtype == torch.float16


def inverse_norm(x: Tensor) -> Tensor:
    """1 / ‖x‖ over the last axis, float32 (..., 1), of a float16 tensor.

    Of a vector shorter than the smallest normal number of float16 it is 0, and so is its gradient: it has no direction.
    """
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    inverse: Tensor = norm.masked_fill(norm < torch.finfo(torch.float16).tiny, torch.inf).reciprocal()
    return inverse
