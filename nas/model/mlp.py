"""The MLP of a layer: Linear → GELU → Linear, or one of its variants (`mlp:` of a stage).

- `depthwise`: a 3×3 depthwise convolution before the GELU (PVTv2, Wang et al., 2022), whose zero padding also encodes
  positions. Prefix tokens have no position on the grid and skip it. `relu_depthwise` has a ReLU before it (PVTv2-Li).
- `swiglu`: W₂(SiLU(g) ⊙ u) with [g, u] = W₁x, where g gates u (Shazeer, "GLU Variants Improve Transformer", 2020).

MACs 2·N·C·hidden; depthwise + 9·h·w·hidden, swiglu + N·C·hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks import Site
from nas.blocks.grid import to_grid, to_tokens


class Mlp(nn.Module):
    """x_BNC → y_BNC, with a hidden layer of F = `hidden` channels."""

    def __init__(self, kind: str, width: int, hidden: int, site: Site):
        super().__init__()
        self.gated, self.rectified = kind == "swiglu", kind == "relu_depthwise"
        self.fc1 = nn.Linear(width, 2 * hidden if self.gated else hidden)
        mixes = kind in ("depthwise", "relu_depthwise")
        self.conv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden) if mixes else None
        self.fc2 = nn.Linear(hidden, width)
        self.grid, self.prefix = site.grid, site.prefix

    def take_over(self) -> None:
        """In a trained layer whose MLP had no convolution, it starts as a delta: nothing changes at first."""
        if self.conv is not None:
            for parameter in self.conv.parameters():
                nn.init.zeros_(parameter)
            self.conv.weight[:, 0, 1, 1] = 1.0

    def forward(self, x_BNC: Tensor) -> Tensor:
        h_BNF = self.fc1(x_BNC)
        if self.rectified:
            h_BNF = F.relu(h_BNF)
        if self.gated:
            gate_BNF, h_BNF = h_BNF.chunk(2, -1)
            h_BNF = F.silu(gate_BNF) * h_BNF
        else:
            h_BNF = F.gelu(self._mixed(h_BNF) if self.conv is not None else h_BNF)
        y_BNC: Tensor = self.fc2(h_BNF)
        return y_BNC

    def _mixed(self, h_BNF: Tensor) -> Tensor:
        assert self.conv is not None
        mixed_BnF = to_tokens(self.conv(to_grid(h_BNF, self.grid, self.prefix)))
        return torch.cat((h_BNF[:, : self.prefix], mixed_BnF), 1) if self.prefix else mixed_BnF
