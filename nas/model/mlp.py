"""The MLP of a layer: Linear → GELU → Linear, optionally with a 3×3 depthwise convolution before the GELU.

The convolution is that of PVTv2 (Wang et al., 2022); its zero padding also encodes positions. Prefix tokens have no
position on the grid and skip it. MACs 2·N·C·hidden (+ 9·h·w·hidden).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks import Site
from nas.blocks.grid import to_grid, to_tokens


class Mlp(nn.Module):
    """x_BNC → y_BNC. site: given to add the convolution."""

    def __init__(self, width: int, hidden: int, site: Site | None = None):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.conv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden) if site else None
        self.fc2 = nn.Linear(hidden, width)
        self.grid, self.prefix = (site.grid, site.prefix) if site else ((0, 0), 0)

    def take_over(self) -> None:
        """In a trained layer whose MLP had no convolution, it starts as a delta: nothing changes at first."""
        if self.conv is not None:
            for parameter in self.conv.parameters():
                nn.init.zeros_(parameter)
            self.conv.weight[:, 0, 1, 1] = 1.0

    def forward(self, x_BNC: Tensor) -> Tensor:
        h_BNF = self.fc1(x_BNC)
        if self.conv is not None:
            mixed_BnF = to_tokens(self.conv(to_grid(h_BNF, self.grid, self.prefix)))
            h_BNF = torch.cat((h_BNF[:, : self.prefix], mixed_BnF), 1) if self.prefix else mixed_BnF
        y_BNC: Tensor = self.fc2(F.gelu(h_BNF))
        return y_BNC
