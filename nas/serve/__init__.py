"""A trained model in use: load it with its transform and class names, predict images, export it."""

from nas.serve.export import ENDINGS, Exported, export
from nas.serve.load import Loaded, load
from nas.serve.predict import Prediction, predict

__all__ = ["ENDINGS", "Exported", "Loaded", "Prediction", "export", "load", "predict"]
