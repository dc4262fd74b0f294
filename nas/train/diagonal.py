"""LaViT's diagonality-preserving loss: reused scores should stay near-symmetric with a dominant diagonal.

As printed (CVPR 2024, eq. 6), per LA layer, added to the cross-entropy:

    L = Σ_i Σ_j |A_ij − A_ji| + Σ_i ( (N−1) A_ii − Σ_{j≠i} A_ij )

On row-softmaxed A the second sum is N·tr(A) − N; minimising it removes the diagonal it is meant to preserve. The sign
is therefore a variant. So is the matrix, pre-softmax scores or weights, which the paper does not specify:
    printed     as above
    flipped     the second sum with the opposite sign: rewards the diagonal, without bound
    hinge       max(0, Σ_{j≠i} A_ij − (N−1) A_ii) per row: rewards the diagonal up to the row's mean (bounded below)
    frobenius   Σ_ij (A_ij − A_ji)² and the hinge; on pre-softmax scores in closed form, O(N E²), without the matrix:
                ‖A − Aᵀ‖² = 2s² tr(QᵀQ·KᵀK) − 2s² tr((KᵀQ)²),  Σ_j A_ij = s·q_i·Σ_j k_j,  A_ii = s·q_i·k_i
Each is divided by N² and averaged over images, heads and layers; one weight then suits every resolution. A matrix that
is needed is computed in chunks of rows, and again in the backward pass: N = 3136 can be trained.

Legend: B batch, H heads, N tokens, E features, R rows of a chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from nas.blocks import Scores
from nas.genome.schema import Diagonal
from nas.model.layer import AttentionTrace

_CHUNK = 2**24  # elements of a chunk of the matrix: 64 MiB in float32


def diagonal_loss(trace: AttentionTrace, config: Diagonal) -> Tensor:
    """0-d tensor, unweighted: the mean over the trace's LA layers; 0 where there are none.

    trace: of `model(images, trace=True)`.
    """
    losses = [_layer_loss(scores, config) for scores in trace.scores.values() if scores.reused]
    return torch.stack(losses).mean() if losses else torch.zeros(())


def _layer_loss(scores: Scores, config: Diagonal) -> Tensor:
    softmaxed = config.matrix == "weights"
    if config.variant == "frobenius" and not softmaxed and scores.q_BHNE is not None and scores.k_BHNE is not None:
        return _closed(scores.q_BHNE.float() * scores.scale, scores.k_BHNE.float())
    known = scores.q_BHNE if scores.q_BHNE is not None else scores.matrix_BHNN
    assert known is not None
    size, batch_heads = known.shape[2], known.shape[:2].numel()
    rows = max(1, _CHUNK // (batch_heads * size))
    if rows >= size:
        matrix_BHNN = scores.weights() if softmaxed else scores.dense()
        return _rows_loss(matrix_BHNN, matrix_BHNN.transpose(-2, -1), 0, size, config.variant) / batch_heads
    total = torch.zeros(())
    for start in range(0, size, rows):
        part = checkpoint(
            _chunk_loss, scores, softmaxed, start, min(size, start + rows), config.variant, use_reentrant=False
        )
        total = total.to(part.device) + part
    return total / batch_heads


def _chunk_loss(scores: Scores, softmaxed: bool, start: int, stop: int, variant: str) -> Tensor:
    """The loss of rows start:stop of A and Aᵀ; no other rows are computed."""
    if scores.q_BHNE is None or scores.k_BHNE is None:
        full_BHNN = scores.weights() if softmaxed else scores.dense()
        across_BHRN = full_BHNN[..., start:stop].transpose(-2, -1)
        return _rows_loss(full_BHNN[..., start:stop, :], across_BHRN, start, full_BHNN.shape[-1], variant)
    q_BHNE, k_BHNE = scores.q_BHNE * scores.scale, scores.k_BHNE
    a_BHRN = q_BHNE[:, :, start:stop] @ k_BHNE.transpose(-2, -1)
    across_BHRN = k_BHNE[:, :, start:stop] @ q_BHNE.transpose(-2, -1)  # row j of Aᵀ: A_ij over i
    if softmaxed:
        a_BHRN = a_BHRN.softmax(-1)
        across_BHRN = (across_BHRN - _log_normaliser(q_BHNE, k_BHNE, stop - start).transpose(-2, -1)).exp()
    return _rows_loss(a_BHRN, across_BHRN, start, q_BHNE.shape[2], variant)


def _log_normaliser(q_BHNE: Tensor, k_BHNE: Tensor, rows: int) -> Tensor:
    """(B, H, N, 1): log Σ_j exp A_ij, a chunk of rows at a time."""
    return torch.cat([(q @ k_BHNE.transpose(-2, -1)).logsumexp(-1, keepdim=True) for q in q_BHNE.split(rows, 2)], 2)


def _rows_loss(a_BHRN: Tensor, across_BHRN: Tensor, start: int, size: int, variant: str) -> Tensor:
    """Sum over images, heads and the given rows, divided by N²; computed in float32."""
    a_BHRN, across_BHRN = a_BHRN.float(), across_BHRN.float()
    apart = a_BHRN - across_BHRN
    symmetric = apart.square().sum() if variant == "frobenius" else apart.abs().sum()
    diagonal_BHR = a_BHRN.diagonal(start, -2, -1)
    excess_BHR = size * diagonal_BHR - a_BHRN.sum(-1)  # (N−1) A_ii − Σ_{j≠i} A_ij
    return (symmetric + _dominance(excess_BHR, variant)) / size**2


def _dominance(excess: Tensor, variant: str) -> Tensor:
    if variant == "printed":
        return excess.sum()
    return -excess.sum() if variant == "flipped" else (-excess).clamp_min(0).sum()


def _closed(q_BHNE: Tensor, k_BHNE: Tensor) -> Tensor:
    """The frobenius variant in closed form, from the scaled factors."""
    size = q_BHNE.shape[2]
    qq, kk, kq = (a.transpose(-2, -1) @ b for a, b in ((q_BHNE, q_BHNE), (k_BHNE, k_BHNE), (k_BHNE, q_BHNE)))
    symmetric = 2 * (qq * kk).sum() - 2 * (kq * kq.transpose(-2, -1)).sum()
    excess_BHN = size * (q_BHNE * k_BHNE).sum(-1) - (q_BHNE @ k_BHNE.sum(2).unsqueeze(-1)).squeeze(-1)
    return (symmetric + _dominance(excess_BHN, "frobenius")) / size**2 / q_BHNE.shape[:2].numel()
