"""Training one genome: loop, recipe, losses, checkpoints, and top-1 accuracy."""

from nas.train.distillation import Teacher, check_teacher
from nas.train.evaluation import evaluate, predicted
from nas.train.loop import Result, TrainingDiverged, train
from nas.train.recipe import Training
from nas.train.task import Task, fitted

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
