"""Ablations: arms, seeds and statistics, for a table of what each part of a model contributes."""

from nas.ablation.retrain import retraining
from nas.ablation.run import ablate, cells_of
from nas.ablation.spec import Ablation, load_ablation, parse_ablation

__all__ = ["Ablation", "ablate", "cells_of", "load_ablation", "parse_ablation", "retraining"]
