"""What stands between a branch of a layer and its residual connection: x = x + drop(γ · branch(x)).

    LayerScale    γ ∈ R^C is learned, ε at first                            (CaiT; Touvron et al., ICCV 2021, eq. 4)
    DropPath      b/p · y with b ~ Bernoulli(p) for each image, in training; y in eval     (Huang et al., ECCV 2016)

Names, parameters and random numbers are those of timm's two layers, to which the tests hold them. They are not
imported from there because timm imports torchvision and torch's compiler: two seconds and 200 MB for every process that
only builds or costs a model, such as the driver of a search.

Legend: B batch, N tokens, C width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LayerScale(nn.Module):
    """A factor for each channel. width: C; init_values: ε."""

    def __init__(self, width: int, init_values: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), init_values))

    def forward(self, x_BNC: Tensor) -> Tensor:
        return x_BNC * self.gamma


class DropPath(nn.Module):
    """Stochastic depth. drop_prob: 1 − p, below 1."""

    def __init__(self, drop_prob: float):
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x_BNC: Tensor) -> Tensor:
        return x_BNC * self.kept(x_BNC, x_BNC.shape[0]) if self.training else x_BNC

    def kept(self, x_BNC: Tensor, batch: int) -> Tensor:
        """b/p of `batch` images, drawn from torch's generator, in the shape (batch, 1, 1)."""
        keep = 1 - self.drop_prob
        return x_BNC.new_empty(batch, 1, 1).bernoulli_(keep).div_(keep)

    def extra_repr(self) -> str:
        return f"drop_prob={self.drop_prob:.3f}"
