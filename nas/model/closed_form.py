"""Output projections in closed form, for layers of a trained model whose token mixing was replaced.

From the first layer to the last, W and b are chosen so that the residual stream after a replaced attention is again
that of the donor (γ: the layer scale; y: what the new core answers, behind layers that are already refitted):

    min_W,b  Σ ‖x_new + γ(W y + b) − x_donor‖² + λ‖W − W_donor‖²,      λ = ridge · mean of the diagonal of Σ y yᵀ

The ridge pulls towards the donor's projection, not towards zero; y and the target are centred, so that b is free. Its
strength is the one of RIDGES that does best on a quarter of the images, which the others are fitted without; where none
does better than the donor's own projection, that stays. (Tokens of an image are alike, so that a thousand of them may
know little.) Some hundred images suffice, as in TOAST (arXiv 2410.04941), which replaces whole blocks that way.

Legend: B images, N tokens, C width, T = B·N tokens of all images.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from nas.model.pyramid import Model

RIDGES = (1e-3, 1e-2, 1e-1, 1.0)


@torch.no_grad()
def solve_projections(model: Model, donor: Model, changed: Collection[str], images_BCHW: Tensor) -> None:
    """Refit the output projections of the layers named `changed`, in place. Both models are in eval mode, on the
    images' device, and have the same tokens.
    """
    x, scores = images_BCHW, None
    their_x, their_scores = images_BCHW, None
    for index, (stage, other) in enumerate(zip(model.stages, donor.stages, strict=True)):
        x, carry = stage.enter(model.stage_input(index, x), scores)
        their_x, their_carry = other.enter(donor.stage_input(index, their_x), their_scores)
        for number, layer in enumerate(stage.layers):
            theirs = other.layers[number] if number < len(other.layers) else None
            if layer.name in changed and theirs is not None:
                answer_BNC = theirs.scale1(theirs.attention(theirs.norm1(their_x), their_carry)[0])
                mixed_BNC = layer.attention.mix(layer.norm1(x), carry)[0]
                wanted_BNC = (their_x + answer_BNC - x) / getattr(layer.scale1, "gamma", 1.0)
                assert isinstance(layer.attention.proj, nn.Linear)
                refit(layer.attention.proj, mixed_BNC.double(), wanted_BNC.double())
            x, carry = layer(x, carry)
            if theirs is not None:
                their_x, their_carry = theirs(their_x, their_carry)
        x, scores = stage.norm(x), carry.scores
        for theirs in list(other.layers)[len(stage.layers) :]:
            their_x, their_carry = theirs(their_x, their_carry)
        their_x, their_scores = other.norm(their_x), their_carry.scores


@torch.no_grad()
def refit(proj: nn.Linear, mixed_BNC: Tensor, wanted_BNC: Tensor) -> None:
    """Replace weight and bias by the ridge solution, if a held-out quarter of the images is answered better by one.

    mixed_BNC: what goes into the projection, wanted_BNC: what should come out; float64 is advisable.
    """
    held = len(mixed_BNC) // 4
    if not held:
        return
    before_CC, before_C = proj.weight.double(), proj.bias.double()
    errors: dict[float | None, float] = {None: _error(before_CC, before_C, mixed_BNC[:held], wanted_BNC[:held])}
    for ridge in RIDGES:
        solution = _solution(before_CC, mixed_BNC[held:], wanted_BNC[held:], ridge)
        errors[ridge] = _error(*solution, mixed_BNC[:held], wanted_BNC[:held])
    best = min(errors, key=lambda ridge: errors[ridge])
    if best is not None:
        weight_CC, bias_C = _solution(before_CC, mixed_BNC, wanted_BNC, best)
        proj.weight.copy_(weight_CC)
        proj.bias.copy_(bias_C)


def _error(weight_CC: Tensor, bias_C: Tensor, mixed_BNC: Tensor, wanted_BNC: Tensor) -> float:
    return float((mixed_BNC @ weight_CC.T + bias_C - wanted_BNC).square().mean())


def _solution(before_CC: Tensor, mixed_BNC: Tensor, wanted_BNC: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    y_TC, target_TC = mixed_BNC.flatten(0, 1), wanted_BNC.flatten(0, 1)
    y_C, target_C = y_TC.mean(0), target_TC.mean(0)
    y_TC, target_TC = y_TC - y_C, target_TC - target_C
    gram_CC = y_TC.T @ y_TC
    strength = ridge * gram_CC.diagonal().mean().clamp_min(1e-12)
    left_CC = gram_CC + strength * torch.eye(len(gram_CC), dtype=gram_CC.dtype, device=gram_CC.device)
    weight_CC = torch.linalg.solve(left_CC, y_TC.T @ target_TC + strength * before_CC.T).T
    return weight_CC, target_C - weight_CC @ y_C
