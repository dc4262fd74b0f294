"""The Castling layer (linear_angular + depthwise) against its equations as released, softmax, and its own floor.

The released form is `layers.Released`, softmax is timm's Attention (SDPA), the floor is the layer's two projections
alone. B·N is about constant, so that every size moves the same memory; the slope is that of the time per image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from timm.models.vision_transformer import Attention as TimmAttention

from benchmarks.contest import Claim, Contest, Work, met, run_contest
from benchmarks.layers import Alone, Projections, Released, attentions, random_tokens
from benchmarks.machine import Setting

_OURS = ("castling", "castling, compiled")
_TIMM = ("timm", "timm, compiled")
_SLOPE_BAR = 1.1
_HALF = "the two projections, which both sides do alike, are more than half of our layer's time"
_BESIDE = (
    "beside the projections: two products of 2·N·C·D multiply-adds in batches of small matrices, and some ten passes "
    "over (B, N, C) memory for copies to heads-first order, norms, convolution and sum"
)


class Size(NamedTuple):
    """Bars of the three rows: against the released form, against timm, and the floor (at most)."""

    batch: int
    tokens: int
    width: int
    heads: int
    released: float | None
    timm: float | None
    floor: float | None

    def __str__(self) -> str:
        return f"N={self.tokens} C={self.width} H={self.heads} B={self.batch}"


SIZES = [
    Size(32, 49, 512, 8, 1.0, None, None),
    Size(32, 196, 192, 3, 1.4, 1.0, None),
    Size(8, 784, 192, 3, 1.7, 1.6, 1.8),
    Size(2, 3136, 192, 3, 1.7, 5.0, 1.8),
    Size(1, 16384, 192, 3, 1.0, 25.0, 1.8),
]


def run(setting: Setting, sizes: Sequence[Size] = SIZES) -> list[dict[str, Any]]:
    results = [run_contest(contest(size), setting) for size in sizes]
    same = [(size, result) for size, result in zip(sizes, results, strict=True) if size.width == sizes[-1].width]
    if len(same) > 1:
        results.append(_slope(same))
    return results


def contest(size: Size) -> Contest:
    def ours(compiled: bool = False) -> Work:
        run = {"core": "linear_angular", "local": "depthwise"}
        layer = attentions(size.tokens, size.width, size.heads, [run])[0]
        return Work(Alone(layer), (x_BNC,), compiled)

    x_BNC = random_tokens(*size[:3])
    timm = TimmAttention(size.width, size.heads)
    claims = [
        Claim("castling layer, eager", "as released, eager", _OURS[:1], ("released",), size.released, limit=_HALF),
        Claim("castling layer", "timm Attention (SDPA)", _OURS, _TIMM, size.timm, limit=_BESIDE),
        Claim("castling layer", "its two projections", _OURS, ("floor",), size.floor, upper=True, limit=_BESIDE),
    ]
    contenders = {
        "castling": ours,
        "castling, compiled": lambda: ours(compiled=True),
        "released": lambda: Work(Released(size.width, size.heads), (x_BNC,)),
        "timm": lambda: Work(timm, (x_BNC,)),
        "timm, compiled": lambda: Work(timm, (x_BNC,), True),
        "floor": lambda: Work(Projections(size.width), (x_BNC,)),
    }
    return Contest(str(size), contenders, claims)


def _slope(results: list[tuple[Size, dict[str, Any]]]) -> dict[str, Any]:
    """A result with one row: the least-squares slope of log(time per image) over log(N)."""
    seconds = [min(r["median_seconds"][n] for n in _OURS if n in r["median_seconds"]) / s.batch for s, r in results]
    tokens = [size.tokens for size, _ in results]
    slope = float(np.polyfit(np.log(tokens), np.log(seconds), 1)[0])
    row = {
        "what": "castling layer, log-log slope of time over N",
        "against": "—",
        "at": f"N={tokens[0]}…{tokens[-1]} C={results[0][0].width}",
        "about": "inference",
        "bar": _SLOPE_BAR,
        "upper": True,
        "ratio": {"value": slope, "low": None, "high": None},
        "met": met(slope, _SLOPE_BAR, True),
        "limit": "",
    }
    return {"at": row["at"], "rows": [row]}
