"""Top-1 accuracy, counted the same way everywhere: in float32, in file order, by the deployed graph.

Float32 whatever the training's precision was, and one default batch size, so that the number in a table is the number
that a new process gets from the saved weights on the same device with the same number of threads.
"""

from __future__ import annotations

import torch
from torch import nn

from nas.data import Split


@torch.no_grad()
def evaluate(model: nn.Module, split: Split, *, batch_size: int = 256, device: str | torch.device = "cpu") -> float:
    """The share of the split's images whose class has the largest logit, in [0, 1]. The model is on `device`.

    The model is evaluated in eval mode and handed back in the mode that it came in.

        >>> evaluate(build("lavit_digits", weights="weights.safetensors"), load("digits").test)
    """
    was_training = model.training
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)  # stays there: no synchronisation a batch
    for images_BCHW, labels_B in split.batches(batch_size, device=device, seed=None):
        correct += (model(images_BCHW).argmax(dim=1) == labels_B).sum()
    model.train(was_training)
    return int(correct) / len(split)
