"""Attention statistics of a trained model, layer by layer: the figures behind LaViT's and Castling's claims.

They are computed from the model's trace on a split, in the deployed graph, and averaged over images and heads.
A is a layer's N×N matrix of attention weights:
    similarity      cos(A_l, A_{l−1}), head h with head h; None after a layer of the same stage that has no scores
    centred         the same of A − 1/N: matrices near uniform are always similar; this is the similarity beyond that
    best_head       similarity with the most similar head of the layer before (softmax heads have no order)
    diagonal        N · mean A_ii: attention of a token to itself, as a multiple of uniform attention
    near            attention to the 3×3 tokens around a token on the grid, as a multiple of uniform attention
    entropy         of A's rows over log N: 1 is uniform
    psi, theta      ‖T − I‖ / ‖I‖ (Frobenius) of a `less` layer's maps: how far it is from plain reuse
    mask_start,     attention mass in the auxiliary at the start and at the end of its schedule
    mask_end
`exact`: A is the matrix that the layer applies. Otherwise A is softmax(q·k) of the scores that the layer passes on: a
linear core forms no matrix, and a relative bias is not passed on. Mapped weights of a `less` layer (source: weights)
may lie outside [0, 1]; for the entropy, negative ones count as zero.

Legend: B batch, H heads, N tokens.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.less import Less
from nas.data import Split
from nas.genome.layout import LayerPlan, StagePlan
from nas.model import Model, auxiliaries_on
from nas.model.layer import AttentionTrace

ELEMENTS = 2**24  # of one layer's matrices in memory: 64 MiB in float32


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer; None for a figure that does not apply to it. See the head of this file."""

    layer: str
    core: str
    tokens: int
    heads: int
    exact: bool | None = None
    similarity: float | None = None
    centred: float | None = None
    best_head: float | None = None
    diagonal: float | None = None
    near: float | None = None
    entropy: float | None = None
    psi: float | None = None
    theta: float | None = None
    mask_start: float | None = None
    mask_end: float | None = None


@dataclass(frozen=True)
class Diagnosis:
    """All layers, and the number of images with the top-1 accuracy on them."""

    images: int
    accuracy: float
    layers: list[LayerDiagnosis]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def diagnose(model: Model, split: Split, *, device: str | torch.device = "cpu") -> Diagnosis:
    """Attention statistics of `model`, which is on `device`, over all images of the split.

    The model is returned to its previous mode; its auxiliaries are left at the end of their schedules.

    >>> diagnose(build("lavit_digits", weights="weights.safetensors"), load("digits").validation).layers[1].similarity
    """
    stages = model.genome.layout
    plans = [plan for stage in stages for plan in stage.layers]
    batch_size = max(1, min(64, ELEMENTS // max(plan.site.heads * plan.site.tokens**2 for plan in plans)))
    was_training, correct = model.training, 0
    sums: dict[tuple[str, str], float] = defaultdict(float)
    model.eval()
    for images_BCHW, labels_B in split.batches(batch_size, device=device, seed=None):
        logits_BK, trace = model(images_BCHW, trace=True)
        correct += int((logits_BK.argmax(1) == labels_B).sum())
        found = [item for stage in stages for item in _attention(stage, trace)]
        for name, progress in (("mask_start", 0.0), ("mask_end", 1.0)) if model.has_auxiliaries else ():
            model.set_progress(progress)
            with auxiliaries_on(model):
                _, trace = model(images_BCHW, trace=True)
            found += [(plan.name, name, trace.mask_mass[plan.name]) for plan in plans if plan.auxiliary]
        for layer, name, value in found:
            sums[layer, name] += float(value) * len(images_BCHW) / len(split)
    model.train(was_training)
    layers = []
    for plan in plans:
        figures = {name: value for (layer, name), value in sums.items() if layer == plan.name and math.isfinite(value)}
        core: Any = model.get_submodule(f"{plan.name}.attention.core")
        exact = core.exact(plan.core) if "diagonal" in figures else None
        if isinstance(core, Less):
            figures |= {name: _from_identity(getattr(core, name), plan) for name in ("psi", "theta")}
        layers.append(
            LayerDiagnosis(plan.name, plan.core.block, plan.site.tokens, plan.site.heads, exact=exact, **figures)
        )
    return Diagnosis(len(split), correct / len(split), layers)


def _attention(stage: StagePlan, trace: AttentionTrace) -> list[tuple[str, str, Tensor]]:
    """(layer, figure, 0-d tensor) for every layer of a stage that has scores."""
    found: list[tuple[str, str, Tensor]] = []
    near_NN = _neighbours(stage.grid, stage.prefix)
    before_BHNN: Tensor | None = None
    for plan in stage.layers:
        scores = trace.scores.get(plan.name)
        if scores is None:
            before_BHNN = None
            continue
        a_BHNN = scores.weights().float()
        tokens = a_BHNN.shape[-1]
        near_NN = near_NN.to(a_BHNN.device)
        p_BHNN = a_BHNN.clamp_min(0)
        p_BHNN = p_BHNN / p_BHNN.sum(-1, keepdim=True)
        figures = {
            "diagonal": tokens * a_BHNN.diagonal(dim1=-2, dim2=-1).mean(),
            "near": (a_BHNN * near_NN).sum(-1).mean() * tokens**2 / near_NN.sum(),
            "entropy": torch.special.entr(p_BHNN).sum(-1).mean() / math.log(tokens)
            if tokens > 1
            else a_BHNN.new_tensor(math.nan),
        }
        if before_BHNN is not None:
            a_BHX, b_BHX = (F.normalize(m_BHNN.flatten(2), dim=-1) for m_BHNN in (a_BHNN, before_BHNN))
            alike_BHH = a_BHX @ b_BHX.transpose(-2, -1)
            figures["similarity"] = alike_BHH.diagonal(dim1=-2, dim2=-1).mean()
            figures["centred"] = _centred(a_BHNN, before_BHNN)
            figures["best_head"] = alike_BHH.amax(-1).mean()
        found += [(plan.name, name, value) for name, value in figures.items()]
        before_BHNN = a_BHNN
    return found


def _centred(a_BHNN: Tensor, b_BHNN: Tensor) -> Tensor:
    """Mean cosine of two matrices after uniform attention is subtracted; NaN if one of them then is only rounding."""
    a_BHX, b_BHX = ((m_BHNN - 1 / m_BHNN.shape[-1]).flatten(2) for m_BHNN in (a_BHNN, b_BHNN))
    least_BH = torch.minimum(a_BHX.norm(dim=-1), b_BHX.norm(dim=-1))
    return F.cosine_similarity(a_BHX, b_BHX, dim=-1).where(least_BH > 1e-5, math.nan).nanmean()


def _neighbours(grid: tuple[int, int], prefix: int) -> Tensor:
    """(N, N) bool: whether two tokens are at most one step apart on the grid; a prefix token is near itself only."""
    rows_N, columns_N = (t.flatten() for t in torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij"))
    apart_NN = torch.maximum((rows_N[:, None] - rows_N).abs(), (columns_N[:, None] - columns_N).abs())
    return F.pad(apart_NN <= 1, (prefix, 0, prefix, 0)).fill_diagonal_(True)


def _from_identity(transform: nn.Module, plan: LayerPlan) -> float:
    """‖T − I‖ / ‖I‖, averaged over heads. T is read off by mapping the columns of I."""
    tokens, heads = plan.site.tokens, plan.site.heads
    like = next(transform.parameters(), torch.zeros(()))
    eye_NN = torch.eye(tokens, device=like.device)
    columns_1NHN = eye_NN[None, :, None].expand(1, tokens, heads, tokens)
    apart_NHN = transform(columns_1NHN)[0] - eye_NN[:, None]
    return float(torch.linalg.vector_norm(apart_NHN, dim=(0, 2)).mean()) / math.sqrt(tokens)
