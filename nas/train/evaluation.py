"""Top-1 accuracy, computed in one way everywhere: in float32, in file order, with the deployed graph.

Precision and batch size do not depend on the training's. A new process with the saved weights, on the same device and
with as many threads, therefore gets the number in the table.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.data import Split
from nas.heartbeat import beat
from nas.train.ranks import Ranks


@torch.no_grad()
def predicted(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    ranks: Ranks = Ranks(),
) -> Tensor:
    """The class with the largest logit of each image, (N,) int64 on the CPU, in file order. The model is on `device`.

    The model is evaluated in eval mode and returned to its previous mode. ranks: each computes some of the batches and
    gets all answers.

        >>> predicted(build("winner.yaml", weights=True), load("digits").test)[:3]
        tensor([6, 9, 3])
    """
    was_training = model.training
    model.eval()
    answers_N = torch.zeros(len(split), dtype=torch.int64, device=device)  # no synchronisation per batch
    own = answers_N.split(batch_size)[ranks.rank :: ranks.count]
    batches = split.batches(batch_size, device=device, sharing=ranks.of_evaluation)
    for answers_B, (images_BCHW, _) in zip(own, batches, strict=True):
        beat()
        answers_B.copy_(model(images_BCHW).argmax(dim=1))
    model.train(was_training)
    return ranks.total(answers_N).cpu()


def evaluate(
    model: nn.Module,
    split: Split,
    *,
    batch_size: int = 256,
    device: str | torch.device = "cpu",
    ranks: Ranks = Ranks(),
) -> float:
    """The share of the split's images whose class has the largest logit, in [0, 1]. Arguments as for `predicted`.

    >>> evaluate(build("lavit_digits", weights="weights.safetensors"), load("digits").test)
    """
    return accuracy_of(predicted(model, split, batch_size=batch_size, device=device, ranks=ranks), split)


def accuracy_of(answers_N: Tensor, split: Split) -> float:
    """The share of right answers, given those of `predicted`."""
    return int((answers_N == split.labels_N).sum()) / len(split)
