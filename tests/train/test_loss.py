from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from nas.model import build
from nas.model.layer import AttentionTrace
from nas.train import Training
from nas.train.diagonal import diagonal_loss
from nas.train.loss import TrainingLoss

CPU = torch.device("cpu")


@pytest.fixture
def batch(few_digits):
    return next(iter(few_digits.train.batches(16, device=CPU, seed=0)))


def test_smoothed_cross_entropy(lavit, few_digits, batch):
    images_BCHW, labels_B = batch
    logits_BK = torch.randn(16, 10)
    criterion = TrainingLoss(lavit, Training(label_smoothing=0.2), few_digits, CPU)
    terms = criterion(logits_BK.bfloat16(), AttentionTrace(), labels_B, images_BCHW)
    shares_BK = 0.8 * F.one_hot(labels_B, 10) + 0.2 / 10
    expected = -(shares_BK * logits_BK.bfloat16().float().log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(terms["cross_entropy"], expected)
    assert terms["loss"] is terms["cross_entropy"]
    assert terms["loss"].dtype == torch.float32


def test_diagonal_loss_is_weighted_in_the_sum_alone(lavit, few_digits, batch):
    images_BCHW, labels_B = batch
    genome = lavit.edit({"loss.diagonal.weight": 0.25, "loss.diagonal.variant": "printed"})
    torch.manual_seed(0)
    logits_BK, trace = build(genome)(images_BCHW, trace=True)
    terms = TrainingLoss(genome, Training(), few_digits, CPU)(logits_BK, trace, labels_B, images_BCHW)
    diagonal = diagonal_loss(trace, genome.loss.diagonal)
    assert diagonal.item() != 0
    torch.testing.assert_close(terms["diagonal_loss"], diagonal)
    torch.testing.assert_close(terms["loss"], terms["cross_entropy"] + 0.25 * diagonal)
