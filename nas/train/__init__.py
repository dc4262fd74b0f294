"""Training one genome: loop, recipe, losses, checkpoints, and top-1 accuracy.

The loop imports timm and torchvision, which takes seconds. It is imported when `train` or what belongs to it is first
used: a process that checks recipes and reads results does without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nas.train.distillation import Teacher, check_teacher
from nas.train.evaluation import evaluate, predicted
from nas.train.recipe import Training
from nas.train.task import Task, fitted

if TYPE_CHECKING:
    from nas.train.loop import Result, TrainingDiverged, train

__all__ = [
    "Result",
    "Task",
    "Teacher",
    "Training",
    "TrainingDiverged",
    "check_teacher",
    "evaluate",
    "fitted",
    "predicted",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in ("Result", "TrainingDiverged", "train"):
        from nas.train import loop

        return getattr(loop, name)
    raise AttributeError(f"module 'nas.train' has no attribute {name!r}")
