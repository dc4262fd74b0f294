"""Knowledge distillation from a trained model, as in DeiT (Touvron et al., ICML 2021), and of its hidden states.

    hard    L = (1 - w) CE(y) + w CE(argmax of the teacher)
    soft    L = (1 - w) CE(y) + w T² KL(softmax(teacher / T) ‖ softmax(student / T))       (Hinton et al., 2015)
    hidden  L + h · mean over layers, images and tokens of 1 - cos(x_student, x_teacher)   (Puzzle, arXiv 2411.19146)

x is what a layer passes on: the tokens after its MLP. Puzzle's own loss is `kind: soft`, `weight: 1`, `hidden: 1`.
DeiT adds a distillation token and head; here both terms use the one head, and the deployed graph and its cost do not
change. The teacher receives the student's images, augmented and mixed, as its own pixels (nas/train/teacher.py).

Shapes: B images of a batch, C channels or width, H × W pixels, K classes, N tokens, L pairs of layers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import ConfigDict, Field, field_validator, model_validator
from torch import Tensor

from nas.data import ImageSet
from nas.errors import GenomeError, SpecError
from nas.genome import Genome, list_presets
from nas.keys import Keys
from nas.model.donor import Donor
from nas.model.layer import AttentionTrace
from nas.model.pixels import served
from nas.timm.spelling import absolute, is_outside
from nas.train.teacher import Pixels, as_teacher, class_order, layer_pairs, load_teacher


class Teacher(Keys):
    """`teacher:` of a training: a trained model, and what the student takes from it.

    >>> Teacher(model="results/run/winners/w1-0007.yaml", kind="soft", hidden=1.0)
    >>> Teacher(model="timm:deit_tiny_patch16_224@weights.safetensors")
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    model: str | None = Field(
        None, description="genome (file, preset), timm:NAME@FILE, torchvision:NAME@FILE or local-dir:FOLDER"
    )
    genome: str | None = Field(None, description="the same as model, for genomes alone")
    weights: str | None = Field(None, description="of a genome; by default the file beside it")
    kind: Literal["hard", "soft"] = Field(
        "hard", description="of its answers: the most probable class, or all probabilities"
    )
    weight: float = Field(0.5, gt=0, le=1, description="w, share of the loss; the labels have the rest")
    temperature: float = Field(1.0, gt=0, description="of soft distillation")
    # Null and not 0 by default: a checkpoint of before the key has none, which is as good as null.
    hidden: float | None = Field(None, ge=0, description="weight of the hidden states' term; null or 0 is off")

    @field_validator("model", "genome", "weights")
    @classmethod
    def _absolute(cls, name: str | None) -> str | None:
        """A file's full path: the training may run in a process with another working directory."""
        if name is None:
            return None
        if is_outside(name):
            return absolute(name)
        return str(Path(name).absolute()) if os.path.exists(name) else name

    @model_validator(mode="after")
    def _one_model(self) -> Teacher:
        if (self.model is None) == (self.genome is None):
            raise ValueError("expected one of model and genome")
        if is_outside(self.source) and self.weights is not None:
            raise ValueError("expected no weights: the file is part of the model's name")
        if self.source in list_presets() and self.weights is None:
            raise ValueError(f"expected the weights of the preset {self.source}: a safetensors file")
        return self

    @property
    def source(self) -> str:
        """The model, whichever key names it."""
        return self.model or self.genome or ""


class Distillation:
    """The distillation terms of a batch, by name: `distillation`, and `hidden` where it is on.

    Raises SpecError, with a path below `training.teacher`, for a teacher that cannot be loaded and for one that does
    not fit the student: in its classes, its channels, or its layers where hidden states are compared. Classes in
    another order are put into the student's. given: the teacher, where it is at hand; its file is not read then.
    """

    def __init__(
        self,
        teacher: Teacher,
        student: Genome,
        images: ImageSet,
        device: torch.device,
        given: Donor | None = None,
    ):
        self.settings, self.hidden = teacher, teacher.hidden or 0.0
        try:
            if given is not None:
                found = as_teacher(given.model(), given.genome, images)
            else:
                found = load_teacher(teacher.source, teacher.weights, images, layers=self.hidden > 0)
            self.model = found.model.to(device).eval().requires_grad_(False)
            self.pixels = Pixels(images, found.pixels, device)
            if found.classes != student.classes:
                message = f"the teacher's classes must be the student's {student.classes}, found {found.classes}"
                raise GenomeError(message)
            order = class_order(found.names, tuple(served(images)["class_names"]))
            self.order_K = None if order is None else torch.tensor(order, device=device)
            self.pairs = layer_pairs(student, found.model.genome) if self.hidden else []
        except SpecError as error:
            raise error.within(path="training.teacher") from None

    def __call__(self, logits_BK: Tensor, trace: AttentionTrace, images_BCHW: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            pixels_BCHW = self.pixels(images_BCHW)
            if not self.pairs:
                return {"distillation": self._of_logits(logits_BK, self.model(pixels_BCHW))}
            teacher_BK, theirs = self.model(pixels_BCHW, trace=True)
        similar_L = [
            F.cosine_similarity(trace.hidden[ours].float(), theirs.hidden[other].float(), dim=-1).mean()
            for ours, other in self.pairs
        ]
        hidden = 1 - torch.stack(similar_L).mean()
        return {"distillation": self._of_logits(logits_BK, teacher_BK), "hidden": hidden}

    def _of_logits(self, logits_BK: Tensor, teacher_BK: Tensor) -> Tensor:
        teacher_BK = (teacher_BK if self.order_K is None else teacher_BK[:, self.order_K]).float()
        if self.settings.kind == "hard":
            return F.cross_entropy(logits_BK, teacher_BK.argmax(dim=1))
        t = self.settings.temperature
        student_BK, teacher_BK = F.log_softmax(logits_BK / t, dim=1), F.log_softmax(teacher_BK / t, dim=1)
        return t**2 * F.kl_div(student_BK, teacher_BK, reduction="batchmean", log_target=True)


def check_teacher(teacher: Teacher | None, student: Genome, images: ImageSet) -> None:
    """Load a training's teacher, if it has one, and hold it to the student. Raises SpecError as `Distillation` does.

    >>> check_teacher(spec.training.teacher, base, images)
    """
    if teacher is not None:
        Distillation(teacher, student, images, torch.device("cpu"))
