"""Training one genome: the loop, its options, its losses, its checkpoints, and the accuracy that everyone quotes."""

from nas.train.distillation import Teacher
from nas.train.evaluation import evaluate
from nas.train.loop import Result, TrainingDiverged, train
from nas.train.training import Training

__all__ = ["Result", "Teacher", "Training", "TrainingDiverged", "evaluate", "train"]
