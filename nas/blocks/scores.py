"""The attention scores that a layer hands on to the next one of its stage, and the form in which they travel.

    A = scale · q kᵀ    factored: q and k, N·E numbers each, in place of the N×N matrix

Legend: B batch, N tokens, H heads, E features of factored scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from torch import Tensor


class ScoreForm(NamedTuple):
    """How a layer's scores travel: `factored` with E features, or as a `dense` or row-softmaxed `weights` matrix."""

    kind: Literal["factored", "dense", "weights"]
    features: int = 0


@dataclass(frozen=True)
class Scores:
    """What a layer hands on of its attention scores A = scale · q kᵀ (or the matrix itself where that is cheaper).

    q_BHNE, k_BHNE: factors, any strides; matrix_BHNN: the scores, or with `softmaxed` the attention weights.
    reused: mapped from the scores of an earlier layer, which is what the diagonal loss looks for.
    """

    q_BHNE: Tensor | None = None
    k_BHNE: Tensor | None = None
    scale: float = 1.0
    matrix_BHNN: Tensor | None = None
    softmaxed: bool = False
    reused: bool = False

    def factors(self) -> tuple[Tensor, Tensor]:
        """(q_BHNE, k_BHNE) of scores that travel factored."""
        assert self.q_BHNE is not None and self.k_BHNE is not None
        return self.q_BHNE, self.k_BHNE

    def dense(self) -> Tensor:
        """(B, H, N, N): the pre-softmax scores, computed if they travel factored."""
        assert not self.softmaxed, "scores cannot be recovered from softmaxed weights"
        if self.matrix_BHNN is not None:
            return self.matrix_BHNN
        q_BHNE, k_BHNE = self.factors()
        return (q_BHNE * self.scale) @ k_BHNE.transpose(-2, -1)

    def weights(self) -> Tensor:
        """(B, H, N, N): row-softmaxed attention weights."""
        if self.softmaxed:
            assert self.matrix_BHNN is not None
            return self.matrix_BHNN
        return self.dense().softmax(-1)
