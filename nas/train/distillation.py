"""Knowledge distillation from a trained genome, as in DeiT (Touvron et al., ICML 2021).

    hard   L = (1 - w) CE(y) + w CE(argmax of the teacher)
    soft   L = (1 - w) CE(y) + w T² KL(softmax(teacher / T) ‖ softmax(student / T))        (Hinton et al., 2015)

DeiT adds a distillation token and head; here both terms use the one head, and the deployed graph and its cost do not
change. The teacher receives the student's images, augmented and mixed.

Shapes: B images of a batch, C channels, H × W pixels, K classes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from nas.errors import GenomeError
from nas.genome import Genome
from nas.model import build


class Teacher(BaseModel):
    """`teacher:` of a training: a genome (preset or file), its weights, and the kind of distillation."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    genome: str
    weights: str
    kind: Literal["hard", "soft"] = "hard"
    weight: float = Field(0.5, gt=0, le=1)
    temperature: float = Field(1.0, gt=0, description="of soft distillation")

    @field_validator("genome", "weights")
    @classmethod
    def _absolute(cls, name: str) -> str:
        """A file's full path: the training may run in a process with another working directory."""
        return str(Path(name).absolute()) if os.path.exists(name) else name


class Distillation:
    """The distillation term of a batch. Raises GenomeError if teacher and student differ in image size or classes."""

    def __init__(self, teacher: Teacher, student: Genome, device: torch.device):
        self.settings = teacher
        self.model = build(teacher.genome, weights=teacher.weights).to(device).eval().requires_grad_(False)
        theirs, ours = self.model.genome, student
        for what, a, b in (("image", theirs.image, ours.image), ("classes", theirs.classes, ours.classes)):
            if a != b:
                raise GenomeError(f"the teacher's {what} must be the student's {b}, found {a}", path="training.teacher")

    def __call__(self, logits_BK: Tensor, images_BCHW: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_BK = self.model(images_BCHW).float()
        if self.settings.kind == "hard":
            return F.cross_entropy(logits_BK, teacher_BK.argmax(dim=1))
        t = self.settings.temperature
        student_BK, teacher_BK = F.log_softmax(logits_BK / t, dim=1), F.log_softmax(teacher_BK / t, dim=1)
        return t**2 * F.kl_div(student_BK, teacher_BK, reduction="batchmean", log_target=True)
