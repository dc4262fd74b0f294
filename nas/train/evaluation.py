"""Top-1 accuracy, computed in one way everywhere: in float32, in file order, with the deployed graph.

Precision and batch size do not depend on the training's. A new process with the saved weights, on the same device and
with as many threads, therefore gets the number in the table.
"""

from __future__ import annotations

import torch
from torch import nn

from nas.data import Split
from nas.heartbeat import beat


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, *, batch_size: int = 256, device: str | torch.device = "cpu") -> float:
    """The share of the split's images whose class has the largest logit, in [0, 1]. The model is on `device`.

    The model is evaluated in eval mode and returned to its previous mode.

        >>> evaluate(build("lavit_digits", weights="weights.safetensors"), load("digits").test)
    """
    was_training = model.training
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)  # on the device: no synchronisation per batch
    for images_BCHW, labels_B in split.batches(batch_size, device=device, seed=None):
        beat()
        correct += (model(images_BCHW).argmax(dim=1) == labels_B).sum()
    model.train(was_training)
    return int(correct) / len(split)
