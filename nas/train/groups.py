"""Parameter groups: which weights decay, and at what share of the learning rate each one moves.

    lr of a parameter = lr · layer_decay^(L + 1 − depth) · (inherited_lr if its values come from a donor, else 1)

depth: 0 for the first patch embedding, 1 … L for the layers (a later stage's embedding counts with its first layer),
L + 1 for the last norm and the head. Sources: layer-wise decay as in BEiT (Bao et al., ICLR 2022); timm's schedulers
multiply a group's rate by its `lr_scale`. Vectors, biases and what a model lists in `no_weight_decay` do not decay.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import Any

from timm.optim import param_groups_weight_decay
from torch import nn

from nas.model import Model
from nas.train.recipe import Training


def parameter_groups(model: Model, training: Training, inherited: Collection[str] = ()) -> list[dict[str, Any]]:
    """Groups for a torch optimiser. inherited: names of the parameters whose values come from a donor.

    >>> [group["lr_scale"] for group in parameter_groups(model, Training())]
    [1.0, 1.0]
    """
    names = {parameter: name for name, parameter in model.named_parameters()}
    depths = _depths(model)
    groups = []
    for group in param_groups_weight_decay(model, training.weight_decay, no_weight_decay_list=model.no_weight_decay()):
        scaled: dict[float, list[nn.Parameter]] = defaultdict(list)
        for parameter in group["params"]:
            name = names[parameter]
            scale = training.layer_decay ** (depths["head"] - depths.get(_part(name), depths["head"]))
            scaled[scale * (training.inherited_lr if name in inherited else 1.0)].append(parameter)
        groups += [group | {"params": scaled[scale], "lr_scale": scale} for scale in sorted(scaled)]
    return groups


def _depths(model: Model) -> dict[str, int]:
    """The depth of each part that a parameter's name may begin with."""
    depths, depth = {}, 0
    for plan in model.genome.layout:
        depths[plan.name] = depth + (depth > 0)
        for layer in plan.layers:
            depth += 1
            depths[layer.name] = depth
    return depths | {"norm": depth + 1, "head": depth + 1}


def _part(name: str) -> str:
    """`stages.1.layers.0` of `stages.1.layers.0.norm1.weight`; `stages.1` of its embedding; `norm`; `head`."""
    keys = name.split(".")
    if keys[0] != "stages":
        return keys[0]
    return ".".join(keys[:4] if keys[2] == "layers" else keys[:2])
