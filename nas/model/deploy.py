"""Deploy: the inference graph of a trained model, checked against the model on a sample.

Auxiliaries and stochastic depth are removed; layer scales and the stem's batch norms are folded into the preceding
linear and convolution layers. Cost and throughput always refer to this graph. The check compares its logits on random
images with those of the model in eval mode, where auxiliaries are off; they may differ by rounding only.
"""

from __future__ import annotations

import copy
from itertools import zip_longest
from typing import TypeVar

import torch
from torch import nn

from nas.model.branch import LayerScale
from nas.model.embed import ConvNorm
from nas.model.layer import Layer
from nas.model.pyramid import Model

ModelT = TypeVar("ModelT", bound=Model)


class DeployError(AssertionError):
    """The deployed graph computes something else than the model: a bug in a block, not a user's mistake."""


@torch.no_grad()
def deploy(model: ModelT, *, tolerance: float = 1e-4) -> ModelT:
    """A copy of `model`, of the same class, for inference, in eval mode.

    Raises DeployError if its logits differ by more than `tolerance` (relative to the largest logit).

    >>> served = deploy(build("castling_digits"))
    """
    training = model.training
    served = copy.deepcopy(model).eval()
    for module in served.modules():
        if isinstance(module, ConvNorm):
            module.fuse()
    layers = [module for module in served.modules() if isinstance(module, Layer)]
    for layer, after in zip_longest(layers, layers[1:]):
        layer.attention.auxiliary = None
        layer.drop1 = layer.drop2 = nn.Identity()
        if after is None or after.attention.core.needs != "mixed":  # "mixed" reuses the unscaled output
            layer.scale1 = _folded(layer.scale1, layer.attention.proj)
        layer.scale2 = _folded(layer.scale2, layer.mlp.fc2)
    image, parameter = model.genome.image, next(model.parameters())
    if parameter.device.type != "meta":  # which has no values to compare
        generator = torch.Generator().manual_seed(0)
        sample_BCHW = torch.randn(2, image.channels, image.size, image.size, generator=generator).to(parameter)
        before_BK, after_BK = model.eval()(sample_BCHW), served(sample_BCHW)
        model.train(training)
        moved = ((after_BK - before_BK).abs().max() / before_BK.abs().max().clamp_min(1e-6)).item()
        if not moved <= tolerance:
            raise DeployError(
                f"deployed logits differ from the model's by {moved:.2e} of the largest, over {tolerance}"
            )
    return served


def _folded(scale: nn.Module, linear: nn.Module) -> nn.Module:
    if isinstance(scale, LayerScale):
        if not isinstance(linear, nn.Linear):
            return scale  # a core without an output projection keeps its scale
        linear.weight.mul_(scale.gamma[:, None])
        linear.bias.mul_(scale.gamma)
    return nn.Identity()
