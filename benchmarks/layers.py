"""Our attention layers at a given size, made as models make them, and the few references that they run against.

Legend: B batch, N tokens, C width, H heads, D head dimension.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from nas.blocks import Scores
from nas.genome import load_genome
from nas.model.layer import Attention, Carry


def attentions(tokens: int, width: int, heads: int, layers: list[Any], *, qkv_bias: bool = False) -> list[Attention]:
    """Attention parts of a one-stage model: `layers` are runs as a genome has them. `tokens` is a square number.

    >>> attentions(49, 64, 1, ["softmax", {"core": "less"}])
    """
    stage = {"patch": 1, "width": width, "heads": heads, "layers": layers}
    image = {"size": math.isqrt(tokens)}
    genome = load_genome({"image": image, "classes": 2, "stages": [stage], "qkv_bias": qkv_bias})
    return [Attention(plan, genome) for plan in genome.layout[0].layers]


class Alone(nn.Module):
    """A layer that needs nothing of the layers before: x_BNC to y_BNC, projections included."""

    def __init__(self, attention: Attention):
        super().__init__()
        self.attention = attention

    def forward(self, x_BNC: Tensor) -> Tensor:
        return self.attention(x_BNC, Carry())[0]


class Reusing(nn.Module):
    """A `less` layer behind a softmax layer, whose qkv projection the scores are slices of, as in a model."""

    def __init__(self, attention: Attention):
        super().__init__()
        self.attention = attention

    def forward(self, x_BNC: Tensor, before_BN3HD: Tensor) -> Tensor:
        q_BHND, k_BHND, _ = before_BN3HD.permute(2, 0, 3, 1, 4).unbind(0)
        scores = Scores(q_BHND, k_BHND, q_BHND.shape[-1] ** -0.5)
        return self.attention(x_BNC, Carry(scores))[0]


class Keeping(nn.Module):
    """A `less` layer behind one that kept its row-softmaxed matrix."""

    def __init__(self, attention: Attention):
        super().__init__()
        self.attention = attention

    def forward(self, x_BNC: Tensor, weights_BHNN: Tensor) -> Tensor:
        scores = Scores(matrix_BHNN=weights_BHNN, softmaxed=True)
        return self.attention(x_BNC, Carry(scores))[0]


class Released(nn.Module):
    """Linear-angular attention with the depthwise residual, written as its equations read (Castling-ViT, CVPR 2023).

    q̂ = q/‖q‖, k̂ = k/‖k‖, Y = ½v + q̂(k̂ᵀv)/π, Y/‖Y‖ + DWConv(v), heads merged, projected. Tensors are (B, H, N, D)
    after a permutation of the fused projection; the convolution is 9×1 per head over (B, H, N, D).
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)
        self.conv = nn.Conv2d(heads, heads, (9, 1), padding=(4, 0), groups=heads, bias=False)

    def forward(self, x_BNC: Tensor) -> Tensor:
        b, n, c = x_BNC.shape
        q, k, v = self.qkv(x_BNC).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        q = q / q.norm(dim=-1, keepdim=True)
        k = k / k.norm(dim=-1, keepdim=True)
        y = 0.5 * v + (1 / math.pi) * (q @ (k.transpose(-2, -1) @ v))
        y = y / y.norm(dim=-1, keepdim=True)
        y = y + self.conv(v)
        return self.proj(y.transpose(1, 2).reshape(b, n, c))

    def load(self, layer: Attention) -> Released:
        """Takes the weights of one of our layers."""
        state = layer.state_dict()
        state["conv.weight"] = state.pop("local.weight")
        self.load_state_dict(state)
        return self


class Projections(nn.Module):
    """The two projections of an attention layer and nothing between them: the time that no mixing can go below."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x_BNC: Tensor) -> Tensor:
        return self.proj(self.qkv(x_BNC)[..., : self.width])


def random_tokens(batch: int, tokens: int, width: int) -> Tensor:
    return torch.randn(batch, tokens, width, generator=torch.Generator().manual_seed(0))
