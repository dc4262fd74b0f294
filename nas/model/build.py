"""A genome, wherever it comes from, as a torch module, with weights if there are any.

Weights are safetensors: data, never code. Nothing a file says is executed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from nas.errors import GenomeError
from nas.genome import Genome, load_genome
from nas.model.pyramid import Model


def build(
    source: str | Path | dict[str, Any] | Genome,
    weights: str | Path | bool | None = None,
    num_classes: int | None = None,
    *,
    model_class: type[Model] = Model,
) -> Model:
    """The model that a genome describes, in training mode (call `.eval()` for the deployed graph).

    source: preset name, YAML path (a run's `winners/<name>.yaml` too), mapping, or Genome.
    weights: a safetensors file; True takes the one beside the YAML file. None: fresh weights from torch's RNG.
    num_classes: another number of classes; with weights, the head then starts fresh.
    model_class: the class to make, Model or a subclass.
    Raises GenomeError for a bad genome, missing weights, or weights of another genome.

    >>> model = build("deit_tiny", num_classes=10)
    >>> model(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 10])
    """
    genome = load_genome(source)
    fresh_head = num_classes is not None and num_classes != genome.classes
    if fresh_head:
        genome = genome.edit({"classes": num_classes})
    model = model_class(genome)
    if weights is True:
        if isinstance(source, (Genome, dict)) or not Path(source).exists():
            raise GenomeError(
                f"weights=True takes the weights beside a genome file, and {source!r} is none: give a path"
            )
        weights = Path(source).with_suffix(".safetensors")
        if not weights.exists():  # a trial directory calls its files genome.yaml and weights.safetensors
            weights = Path(source).with_name("weights.safetensors")
    if weights:
        _load(model, Path(weights), fresh_head)
    return model


def _load(model: Model, path: Path, fresh_head: bool) -> None:
    try:
        state = safetensors.torch.load_file(path)
    except (FileNotFoundError, SafetensorError, OSError) as error:
        raise GenomeError(f"weights cannot be read: {error}", file=path) from None
    own = model.state_dict()
    if fresh_head:
        state |= {name: tensor for name, tensor in own.items() if name.startswith("head.")}
    wrong = sorted(set(state) ^ set(own)) + [n for n in set(state) & set(own) if state[n].shape != own[n].shape]
    if wrong:
        raise GenomeError(f"weights of another genome: {len(wrong)} tensors differ, the first is {wrong[0]}", file=path)
    model.load_state_dict(state)
