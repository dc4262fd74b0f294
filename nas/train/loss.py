"""The training loss: cross-entropy, the genome's diagonal-preservation loss, and distillation from a teacher.

    L = (1 - w) CE_smoothed + w L_distillation + h L_hidden + λ L_diagonal

With `bce`, timm's binary cross-entropy stands in the place of CE: each class is a question of its own, and the loss a
mean over images and classes (Wightman et al., 2021). Mixed labels are smoothed first, as timm's Mixup does it.

The terms are returned by name beside the sum, unweighted; metrics.csv has a column for each.

Shapes: B images of a batch, K classes; labels are class indices (B), or class probabilities (BK) after mixing.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.loss import BinaryCrossEntropy
from torch import Tensor

from nas.data import ImageSet
from nas.genome import Genome
from nas.model.donor import Donor
from nas.model.layer import AttentionTrace
from nas.train.diagonal import diagonal_loss
from nas.train.distillation import Distillation
from nas.train.recipe import Training


class TrainingLoss:
    """Losses of a batch: `criterion(logits_BK, trace, labels, images_BCHW)["loss"].backward()`.

    teacher: that of `training.teacher`, where it is at hand.
    """

    def __init__(
        self,
        genome: Genome,
        training: Training,
        images: ImageSet,
        device: torch.device,
        teacher: Donor | None = None,
    ):
        self.smoothing = training.label_smoothing
        self.binary = BinaryCrossEntropy(self.smoothing, training.bce_threshold) if training.bce else None
        self.diagonal = genome.loss.diagonal
        self.distillation = (
            Distillation(training.teacher, genome, images, device, teacher) if training.teacher else None
        )

    @property
    def reads_trace(self) -> bool:
        """Whether the student's forward pass must leave a trace."""
        return self.diagonal.active or (self.distillation is not None and self.distillation.hidden > 0)

    def __call__(
        self, logits_BK: Tensor, trace: AttentionTrace, labels: Tensor, images_BCHW: Tensor
    ) -> dict[str, Tensor]:
        logits_BK = logits_BK.to(torch.get_default_dtype())  # bfloat16 is too coarse for a loss
        of_labels = self._of_labels(logits_BK, labels)
        terms = {"loss": of_labels, "cross_entropy" if self.binary is None else "binary_cross_entropy": of_labels}
        if self.distillation is not None:
            terms |= self.distillation(logits_BK, trace, images_BCHW)
            terms["loss"] = torch.lerp(of_labels, terms["distillation"], self.distillation.settings.weight)
            if "hidden" in terms:
                terms["loss"] = terms["loss"] + self.distillation.hidden * terms["hidden"]
        if self.diagonal.active:
            terms["diagonal_loss"] = diagonal_loss(trace, self.diagonal)
            terms["loss"] = terms["loss"] + self.diagonal.weight * terms["diagonal_loss"]
        return terms

    def _of_labels(self, logits_BK: Tensor, labels: Tensor) -> Tensor:
        if self.binary is None:
            return F.cross_entropy(logits_BK, labels, label_smoothing=self.smoothing)
        if labels.is_floating_point():
            labels = (1 - self.smoothing) * labels + self.smoothing / labels.shape[1]
        loss: Tensor = self.binary(logits_BK, labels)
        return loss
