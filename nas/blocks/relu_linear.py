"""ReLU linear attention: softmax replaced by a product of ReLUs, row-normalised (EfficientViT).

    y_i = ReLU(q_i) (Σ_j ReLU(k_j)ᵀ v_j) / (ReLU(q_i) · Σ_j ReLU(k_j) + ε)

Source: Cai et al., "EfficientViT: Multi-Scale Linear Attention", ICCV 2023. MACs 2·N·C·D + N·C (the row sums).

Decisions and deviations:
- sums are taken in float32 also under autocast: N positive terms leave float16's range (the release does the same);
- ε = 1e-5 as timm has it (the release: 1e-15, whose gradient explodes where a row almost vanishes); a query without a
  positive channel answers zero;
- the release also attends over 5×5 depthwise aggregations of q, k, v (its "multi-scale" part) and follows attention by
  a depthwise convolution in the MLP: the latter is `mlp: depthwise` of a stage, the former is not here;
- the q and k handed on are those before the ReLU.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from nas.blocks.base import BlockConfig, Core, Cost, Inputs, Site, block
from nas.blocks.precision import full_precision, wide
from nas.blocks.scores import Scores

EPSILON = 1e-5


@block("relu_linear")
class ReluLinear(Core):
    class Config(BlockConfig):
        block: Literal["relu_linear"] = "relu_linear"

    def __init__(self, config: Config, site: Site):
        super().__init__()
        self.scale = site.head_dim**-0.5

    def forward(self, inputs: Inputs) -> tuple[Tensor, Scores]:
        q_BHND, k_BHND, v_BHND = inputs.heads_first()
        with full_precision(q_BHND):
            y_BHND = linear_attention(F.relu(wide(q_BHND)), F.relu(wide(k_BHND)), wide(v_BHND), EPSILON)
        return y_BHND.to(v_BHND.dtype).transpose(1, 2), Scores(q_BHND, k_BHND, self.scale)

    @classmethod
    def cost(cls, config: Config, site: Site) -> Cost:
        return linear_attention_cost(site)


def linear_attention(q_BHND: Tensor, k_BHND: Tensor, v_BHND: Tensor, epsilon: float) -> Tensor:
    """q (kᵀ v) / (q · Σk + ε) for non-negative q and k, in O(N·D²) per head."""
    kv_BHDD = k_BHND.transpose(-2, -1) @ v_BHND
    row_BHN1 = q_BHND @ k_BHND.sum(-2).unsqueeze(-1)
    return q_BHND @ kv_BHDD / (row_BHN1 + epsilon)


def linear_attention_cost(site: Site) -> Cost:
    return Cost(site.tokens * site.width * (2 * site.head_dim + 1), 0)
