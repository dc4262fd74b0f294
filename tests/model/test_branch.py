"""Layer scale and drop path against timm's: values, gradients, random numbers, names."""

from __future__ import annotations

import timm.layers
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.model.branch import DropPath, LayerScale


@given(st.integers(1, 9), st.floats(0, 0.999), st.integers(0, 99), st.booleans())
def test_drop_path_is_timms_with_the_same_random_numbers(batch: int, drop_prob: float, seed: int, training: bool):
    found = []
    for layer in (DropPath(drop_prob), timm.layers.DropPath(drop_prob)):
        layer.train(training)
        torch.manual_seed(seed)
        x_BNC = torch.randn(batch, 5, 4, requires_grad=True)
        y_BNC = layer(x_BNC)
        y_BNC.square().sum().backward()
        found.append((y_BNC, x_BNC.grad, torch.rand(())))
    ours, theirs = found
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
    if drop_prob:  # timm draws nothing where nothing is dropped; a genome has no such layer there
        assert torch.equal(ours[2], theirs[2])


@given(st.integers(1, 9), st.floats(1e-6, 1))
def test_layer_scale_is_timms(width: int, init_values: float):
    ours, theirs = LayerScale(width, init_values), timm.layers.LayerScale(width, init_values)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert torch.equal(ours.gamma, theirs.gamma)
    x_BNC = torch.randn(2, 3, width)
    assert torch.equal(ours(x_BNC), theirs(x_BNC))
