"""Less-attention layers: the factored form against the dense one, and against the softmax layer they replace.

Layers with their projections (a `less` layer projects v alone), D = 64, batches such that each call takes a while.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.contest import Claim, Contest, Work, run_contest
from benchmarks.layers import Alone, Keeping, Reusing, attentions, random_tokens
from benchmarks.machine import Setting

_FEW_MACS = "attention itself is nearly all of the layer's work at this N, and both sides do it with the same kernel"


class Size(NamedTuple):
    batch: int
    tokens: int
    width: int
    heads: int
    bar: float | None

    def __str__(self) -> str:
        return f"N={self.tokens} C={self.width} H={self.heads} B={self.batch}"


DENSE = [Size(8, 196, 320, 5, 1.5), Size(4, 784, 128, 2, 4.0), Size(1, 3136, 64, 1, 10.0)]
KEPT = [
    Size(64, 49, 192, 3, 1.5),
    Size(32, 49, 512, 8, 1.5),
    Size(16, 196, 192, 3, 1.5),
    Size(16, 196, 320, 5, 1.5),
    Size(8, 196, 512, 8, 1.5),
]
FACTORED = [Size(16, 196, 320, 5, 1.15), Size(8, 784, 128, 2, 0.97), Size(2, 3136, 64, 1, 0.97)]


def run(setting: Setting) -> list[dict[str, Any]]:
    return [run_contest(contest, setting) for contest in contests()]


def contests(
    dense: Sequence[Size] = DENSE, kept: Sequence[Size] = KEPT, factored: Sequence[Size] = FACTORED
) -> list[Contest]:
    """The contests at the given sizes (tests take tiny ones)."""
    return (
        [_against_dense(size) for size in dense]
        + [_identity(size) for size in kept]
        + [_against_softmax(size) for size in factored]
    )


def _against_dense(size: Size) -> Contest:
    paths = {path: _less(size, {"transform": "dense", "path": path}) for path in ("factored", "dense")}
    return Contest(str(size), paths, [Claim("less, factored", "less, dense", ("factored",), ("dense",), size.bar)])


def _identity(size: Size) -> Contest:
    def kept() -> Work:
        config = {"transform": "identity", "source": "weights"}
        layer = attentions(size.tokens, size.width, size.heads, ["softmax", {"core": {"block": "less", **config}}])[1]
        matrix_BHNN = torch.rand(size.batch, size.heads, size.tokens, size.tokens).softmax(-1)
        return Work(Keeping(layer), (random_tokens(*size[:3]), matrix_BHNN))

    claim = Claim("less, identity, matrix kept", "softmax (SDPA)", ("kept",), ("softmax",), size.bar)
    return Contest(str(size), {"kept": kept, "softmax": _softmax(size)}, [claim])


def _against_softmax(size: Size) -> Contest:
    less = {
        "low_rank": _less(size, {"transform": "low_rank", "rank": 16, "path": "factored"}),
        "conv": _less(size, {"transform": "conv", "path": "factored"}),
    }
    names = {"low_rank": "less, low_rank r=16", "conv": "less, conv 3×3"}
    claims = [Claim(names[n], "softmax (SDPA)", (n,), ("softmax",), size.bar, limit=_FEW_MACS) for n in less]
    return Contest(str(size), {"softmax": _softmax(size), **less}, claims)


def _softmax(size: Size) -> Callable[[], Work]:
    def build() -> Work:
        layer = attentions(size.tokens, size.width, size.heads, ["softmax"])[0]
        return Work(Alone(layer), (random_tokens(*size[:3]),))

    return build


def _less(size: Size, options: dict[str, Any]) -> Callable[[], Work]:
    def build() -> Work:
        torch.manual_seed(0)
        run = {"core": {"block": "less", **options}}
        layer = attentions(size.tokens, size.width, size.heads, ["softmax", run])[1]
        head_dim = size.width // size.heads
        before_BN3HD = torch.randn(size.batch, size.tokens, 3, size.heads, head_dim)
        return Work(Reusing(layer), (random_tokens(*size[:3]), before_BN3HD))

    return build
