"""Scores of converted models: how far their answers are from the parent's on images that nobody trained on.

    kl          mean over images of KL(softmax(parent) ‖ softmax(model)): no labels, and finer than accuracy
    agreement   share of images whose most probable class is the parent's
    Δ accuracy  top-1 less the parent's, with its standard error over images: both models see the same ones, so that the
                error is that of the paired differences (of which most are 0), well below that of an accuracy

Legend: B images of a batch, K classes, N images in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data import Split
from nas.heartbeat import beat


@dataclass(frozen=True)
class Score:
    kl: float
    agreement: float
    delta_accuracy: float
    delta_accuracy_se: float


class Scorer:
    """Scores models on the images of a split, which the parent sees once.

    >>> Scorer(parent, images.validation)(converted).kl
    0.012
    """

    @torch.no_grad()
    def __init__(self, parent: nn.Module, split: Split, batch_size: int = 256):
        self.split, self.batch_size = split, batch_size
        self.device = next(parent.parameters()).device
        self.labels_N = split.labels_N.to(self.device)
        self.parent_NK = self.answers(parent)

    @torch.no_grad()
    def __call__(self, model: nn.Module) -> Score:
        """The model is on the parent's device, and in eval mode."""
        own_NK = self.answers(model)
        kl_N = F.kl_div(own_NK, self.parent_NK, log_target=True, reduction="none").sum(1)
        chosen_N, theirs_N = own_NK.argmax(1), self.parent_NK.argmax(1)
        gain_N = (chosen_N == self.labels_N).double() - (theirs_N == self.labels_N).double()
        return Score(
            kl=float(kl_N.double().mean().clamp_min(0)),  # of near models, rounding may leave it below 0
            agreement=float((chosen_N == theirs_N).double().mean()),
            delta_accuracy=float(gain_N.mean()),
            delta_accuracy_se=float(gain_N.std(unbiased=True) / len(gain_N) ** 0.5),
        )

    def answers(self, model: nn.Module) -> Tensor:
        """Log-probabilities (N, K)."""
        answers: list[Tensor] = []
        for images_BCHW, _ in self.split.batches(self.batch_size, device=self.device):
            beat()
            answers.append(model(images_BCHW).float().log_softmax(1))
        return torch.cat(answers)
