from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from nas.errors import GenomeError
from nas.genome import load_genome
from nas.model import build
from nas.model.layer import AttentionTrace
from nas.train import Training
from nas.train.diagonal import diagonal_loss
from nas.train.loss import TrainingLoss

CPU = torch.device("cpu")


@pytest.fixture
def batch(few_digits):
    return next(iter(few_digits.train.batches(16, device=CPU, seed=0)))


@pytest.fixture
def teacher(tmp_path, lavit):
    torch.manual_seed(1)
    model = build(lavit).eval()
    save_file(model.state_dict(), tmp_path / "t.safetensors")
    return {"genome": "lavit_digits", "weights": str(tmp_path / "t.safetensors")}, model


def test_smoothed_cross_entropy(lavit, batch):
    images_BCHW, labels_B = batch
    logits_BK = torch.randn(16, 10)
    criterion = TrainingLoss(lavit, Training(label_smoothing=0.2), CPU)
    terms = criterion(logits_BK.bfloat16(), AttentionTrace(), labels_B, images_BCHW)
    shares_BK = 0.8 * F.one_hot(labels_B, 10) + 0.2 / 10
    expected = -(shares_BK * logits_BK.bfloat16().float().log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(terms["cross_entropy"], expected)
    assert terms["loss"] is terms["cross_entropy"]
    assert terms["loss"].dtype == torch.float32


def test_diagonal_loss_is_weighted_in_the_sum_alone(lavit, batch):
    images_BCHW, labels_B = batch
    genome = lavit.edit({"loss.diagonal.weight": 0.25, "loss.diagonal.variant": "printed"})
    torch.manual_seed(0)
    logits_BK, trace = build(genome)(images_BCHW, trace=True)
    terms = TrainingLoss(genome, Training(), CPU)(logits_BK, trace, labels_B, images_BCHW)
    diagonal = diagonal_loss(trace, genome.loss.diagonal)
    assert diagonal.item() != 0
    torch.testing.assert_close(terms["diagonal_loss"], diagonal)
    torch.testing.assert_close(terms["loss"], terms["cross_entropy"] + 0.25 * diagonal)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_distillation(lavit, batch, teacher, kind):
    images_BCHW, labels_B = batch
    settings, model = teacher
    training = Training(teacher=settings | {"kind": kind, "weight": 0.3, "temperature": 2.0})
    logits_BK = torch.randn(16, 10)
    with torch.no_grad():
        teacher_BK = model(images_BCHW)
    if kind == "hard":
        expected = F.cross_entropy(logits_BK, teacher_BK.argmax(1))
    else:
        p_BK = (teacher_BK / 2).softmax(1)
        expected = 4 * (p_BK * (p_BK.log() - (logits_BK / 2).log_softmax(1))).sum(1).mean()
    terms = TrainingLoss(lavit, training, CPU)(logits_BK, AttentionTrace(), labels_B, images_BCHW)
    torch.testing.assert_close(terms["distillation"], expected)
    torch.testing.assert_close(terms["loss"], 0.7 * terms["cross_entropy"] + 0.3 * expected)


def test_a_teacher_of_other_classes_is_refused(lavit, teacher):
    student = load_genome(lavit).edit({"classes": 7})
    with pytest.raises(GenomeError, match="teacher's classes"):
        TrainingLoss(student, Training(teacher=teacher[0]), CPU)
