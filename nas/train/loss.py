"""The training loss: cross-entropy, the genome's diagonal-preservation loss, and distillation from a teacher.

    L = (1 - w) CE_smoothed + w L_distillation + h L_hidden + λ L_diagonal

The terms are returned by name beside the sum, unweighted; metrics.csv has a column for each.

Shapes: B images of a batch, K classes; labels are class indices (B), or class probabilities (BK) after mixing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data import ImageSet
from nas.genome import Genome
from nas.model.layer import AttentionTrace
from nas.train.diagonal import diagonal_loss
from nas.train.distillation import Distillation
from nas.train.recipe import Training


class TrainingLoss:
    """Losses of a batch: `criterion(logits_BK, trace, labels, images_BCHW)["loss"].backward()`."""

    def __init__(self, genome: Genome, training: Training, images: ImageSet, device: torch.device):
        self.smoothing = training.label_smoothing
        self.diagonal = genome.loss.diagonal
        self.distillation = Distillation(training.teacher, genome, images, device) if training.teacher else None

    @property
    def reads_trace(self) -> bool:
        """Whether the student's forward pass must leave a trace."""
        return self.diagonal.active or (self.distillation is not None and self.distillation.hidden > 0)

    def __call__(
        self, logits_BK: Tensor, trace: AttentionTrace, labels: Tensor, images_BCHW: Tensor
    ) -> dict[str, Tensor]:
        logits_BK = logits_BK.float()  # bfloat16 is too coarse for a loss
        cross_entropy = F.cross_entropy(logits_BK, labels, label_smoothing=self.smoothing)
        terms = {"loss": cross_entropy, "cross_entropy": cross_entropy}
        if self.distillation is not None:
            terms |= self.distillation(logits_BK, trace, images_BCHW)
            terms["loss"] = torch.lerp(cross_entropy, terms["distillation"], self.distillation.settings.weight)
            if "hidden" in terms:
                terms["loss"] = terms["loss"] + self.distillation.hidden * terms["hidden"]
        if self.diagonal.active:
            terms["diagonal_loss"] = diagonal_loss(trace, self.diagonal)
            terms["loss"] = terms["loss"] + self.diagonal.weight * terms["diagonal_loss"]
        return terms
