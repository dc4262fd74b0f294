"""Build the torch module of a genome, with weights on request.

Weights are safetensors files, which cannot contain code.
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
    genome: str | Path | dict[str, Any] | Genome,
    weights: str | Path | bool | None = None,
    num_classes: int | None = None,
    *,
    model_class: type[Model] = Model,
) -> Model:
    """The model that a genome describes, in training mode (call `.eval()` for the deployed graph).

    genome: preset name, YAML path (a run's `winners/<name>.yaml`, for instance), mapping, or Genome.
    weights: a safetensors file; True takes the one beside the YAML file. None: new weights from torch's RNG.
    num_classes: another number of classes; with weights, the head is then initialised anew.
    model_class: Model or a subclass.
    Raises GenomeError for a bad genome, missing weights, or weights of another genome.

    >>> model = build("deit_tiny", num_classes=10)
    >>> model(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 10])
    """
    loaded = load_genome(genome)
    fresh_head = num_classes is not None and num_classes != loaded.classes
    if fresh_head:
        loaded = loaded.edit({"classes": num_classes})
    model = model_class(loaded)
    if weights is True:
        if isinstance(genome, (Genome, dict)) or not Path(genome).exists():
            raise GenomeError(
                f"weights=True takes the weights beside a genome file, and {genome!r} is not a file: give a path"
            )
        weights = Path(genome).with_suffix(".safetensors")
        if not weights.exists():  # a trial directory has genome.yaml and weights.safetensors
            weights = Path(genome).with_name("weights.safetensors")
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
