"""What the attention of a trained model looks like, layer by layer: the figures behind LaViT's and Castling's claims.

Everything is read from the model's trace on some images, in the deployed graph, and averaged over images and heads.
A is a layer's N×N matrix of attention weights:
    similarity      cos(A_l, A_{l−1}), head h with head h; None after a layer of the same stage that has no scores
    centred         the same of A − 1/N. Matrices near uniform are alike, trained or not; this tells whether in anything
    best_head       similarity with whichever head of the layer before is most alike (softmax heads have no order)
    diagonal        N · mean A_ii: attention to oneself, as a multiple of uniform attention
    near            attention to the 3×3 tokens around one on the grid, as a multiple of uniform attention
    entropy         of A's rows over log N: 1 is uniform
    psi, theta      ‖T − I‖ / ‖I‖ (Frobenius) of a `less` layer's maps: how far it is from plain reuse
    mask_start,     attention mass that the auxiliary keeps with the settings that its schedule starts and ends with
    mask_end
`exact`: A is what the layer applies. Otherwise it is softmax(q·k) of what the layer hands on: a linear core never forms
a matrix, and a relative bias stays with its layer. A `less` layer's mapped weights (source: weights) may leave [0, 1];
for the entropy negative ones count as zero.

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

ELEMENTS = 2**24  # of one layer's matrices at once: 64 MiB in float32


@dataclass(frozen=True)
class LayerDiagnosis:
    """One layer; None where a figure has no meaning for it. See the head of this file."""

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
    """All layers, on so many images, of which the share `accuracy` is classified rightly."""

    images: int
    accuracy: float
    layers: list[LayerDiagnosis]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@torch.no_grad()
def diagnose(model: Model, split: Split, *, device: str | torch.device = "cpu") -> Diagnosis:
    """Look at the attention of `model`, which is on `device`, on all images of the split.

    The model is handed back in the mode that it came in, its auxiliaries at the end of their schedules.

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
    """Mean cosine of what two matrices have beyond uniform attention; NaN where one has nothing but rounding."""
    a_BHX, b_BHX = ((m_BHNN - 1 / m_BHNN.shape[-1]).flatten(2) for m_BHNN in (a_BHNN, b_BHNN))
    least_BH = torch.minimum(a_BHX.norm(dim=-1), b_BHX.norm(dim=-1))
    return F.cosine_similarity(a_BHX, b_BHX, dim=-1).where(least_BH > 1e-5, math.nan).nanmean()


def _neighbours(grid: tuple[int, int], prefix: int) -> Tensor:
    """(N, N) bool: a token and those around it on the grid; a prefix token is alone."""
    rows_N, columns_N = (t.flatten() for t in torch.meshgrid(*(torch.arange(side) for side in grid), indexing="ij"))
    apart_NN = torch.maximum((rows_N[:, None] - rows_N).abs(), (columns_N[:, None] - columns_N).abs())
    return F.pad(apart_NN <= 1, (prefix, 0, prefix, 0)).fill_diagonal_(True)


def _from_identity(transform: nn.Module, plan: LayerPlan) -> float:
    """‖T − I‖ / ‖I‖, averaged over heads. T is what the columns of I become, whatever form the map is kept in."""
    tokens, heads = plan.site.tokens, plan.site.heads
    like = next(transform.parameters(), torch.zeros(()))
    eye_NN = torch.eye(tokens, device=like.device)
    columns_1NHN = eye_NN[None, :, None].expand(1, tokens, heads, tokens)
    apart_NHN = transform(columns_1NHN)[0] - eye_NN[:, None]
    return float(torch.linalg.vector_norm(apart_NHN, dim=(0, 2)).mean()) / math.sqrt(tokens)
