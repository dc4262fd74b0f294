from __future__ import annotations

import pytest
import torch
from torch import nn

from nas.train import evaluate


class Fixed(nn.Module):
    """Says class 3 of ten for every image; in training mode class 4."""

    def forward(self, images_BCHW):
        said = 4 if self.training else 3
        return torch.eye(10)[said].expand(len(images_BCHW), 10)


@pytest.mark.parametrize("batch_size", [7, 256, 10_000])
def test_counts_every_image_once(digits, batch_size):
    share = (digits.validation.labels_N == 3).float().mean().item()
    assert evaluate(Fixed(), digits.validation, batch_size=batch_size) == pytest.approx(share, abs=1e-7)


@pytest.mark.parametrize("training", [True, False])
def test_hands_the_model_back_in_its_mode(few_digits, training):
    model = Fixed().train(training)
    evaluate(model, few_digits.validation)
    assert model.training is training
