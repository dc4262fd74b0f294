"""Build the torch module of a genome, with weights on request.

Weights are safetensors files, which cannot contain code.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas.errors import GenomeError, shown
from nas.files import parse_json, regular, sha256_of
from nas.genome import Genome, load_genome
from nas.model.pyramid import Model

log = logging.getLogger(__name__)

ARCHIVE, PICKLE = b"PK\x03\x04", b"\x80"  # torch.save's archive, which holds a pickle, and a pickle itself


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
        A file that you name may have been trained as another genome whose tensors fit, with a warning.
        Tensors in float16 or bfloat16 become float32, which is exact; any other difference in dtype is refused.
    num_classes: another number of classes; with weights, the head is then initialised anew.
    model_class: Model or a subclass.
    Raises GenomeError for a bad genome, and for weights that are missing, of another genome, or not finite.

    >>> model = build("deit_tiny", num_classes=10)
    >>> model(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 10])
    """
    loaded = load_genome(genome)
    own = loaded.hash
    fresh_head = num_classes is not None and num_classes != loaded.classes
    if fresh_head:
        loaded = loaded.edit({"classes": num_classes})
    model = model_class(loaded)
    if weights is True:
        weights = weights_beside(genome)
    if weights:
        if (trained := trained_as(Path(weights))) not in (None, own):
            log.warning("%s was trained as genome %s, and is loaded into %s", weights, trained, own)
        load_weights(model, Path(weights), fresh_head=fresh_head)
    return model


def weights_beside(genome: str | Path | dict[str, Any] | Genome) -> Path:
    """The weights that belong to a genome file.

    Raises GenomeError for a genome that is no file, if the weights beside it were trained as another genome (with other
    windows or another mask, all tensors may fit, and the model computes something else), and if they are not those that
    the results beside them are of: wrong bytes load as well.
    """
    if isinstance(genome, (Genome, dict)) or not os.path.exists(genome) or os.path.isdir(genome):
        raise GenomeError(f"the weights are those beside a genome file, and {shown(genome)} is not a file: give a path")
    weights = Path(genome).with_suffix(".safetensors")
    other = weights.with_name("weights.safetensors")  # a trial directory has it beside genome.yaml
    if not weights.exists() and (other.exists() or weights.stem == "genome"):
        weights = other
    if (trained := trained_as(weights)) not in (None, own := load_genome(genome).hash):
        message = (
            f"trained as genome {trained}, and {Path(genome).name} is {own}; to load it all the same, name the file"
        )
        raise GenomeError(f"weights of another genome: {message}", file=weights)
    results = weights.with_name("result.json") if weights.stem == "weights" else weights.with_suffix(".json")
    if (expected := _digest_in(results)) is not None and weights.exists() and sha256_of(weights) != expected:
        message = f"their SHA-256 differs from that in {results.name}; restore them, or name the file to load it"
        raise GenomeError(f"other weights than the results are of: {message}", file=weights)
    return weights


def _digest_in(results: Path) -> str | None:
    """The digest of the weights in a result.json or a winner's JSON; None without one."""
    try:
        found = parse_json(regular(results).read_bytes())
    except (OSError, ValueError):
        return None
    return found.get("weights_sha256") if isinstance(found, dict) else None


def trained_as(weights: Path) -> str | None:
    """The hash of the genome that weights were trained as; None where the file is not ours, or cannot be read."""
    try:
        with safe_open(regular(weights), framework="pt") as file:
            job = parse_json((file.metadata() or {}).get("job", "{}"))
    except (OSError, SafetensorError, ValueError):
        return None
    trained = job.get("genome") if isinstance(job, dict) else None
    return trained if isinstance(trained, str) else None


def load_weights(model: Model, path: Path, *, fresh_head: bool = False) -> None:
    """Read a safetensors file into a model. Raises GenomeError unless its tensors are the model's, and finite."""
    state, own = _read(path), model.state_dict()
    if fresh_head:
        state |= {name: tensor for name, tensor in own.items() if name.startswith("head.")}
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    counts = [f"{len(names)} {kind} ({names[0]})" for kind, names in (("missing", missing), ("extra", extra)) if names]
    if counts:
        raise GenomeError(f"weights of another genome: {' and '.join(counts)} of {len(own)} tensors", file=path)
    wrong = [name for name in own if not _fits(state[name], own[name])]
    if wrong:
        first = f"{wrong[0]}: expected {_form(own[wrong[0]])}, found {_form(state[wrong[0]])}"
        message = f"weights of another genome: {len(wrong)} of {len(own)} tensors differ, the first is {first}"
        raise GenomeError(message, file=path)
    for name in own:
        if count := int(state[name].isfinite().logical_not().sum()):
            found = f"{count} value{'s' * (count > 1)} that {'are' if count > 1 else 'is'} not finite"
            raise GenomeError(f"{name} has {found}", file=path)
    model.load_state_dict(state)


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. A pickle is recognised by its first bytes, and left alone."""
    try:
        with regular(path).open("rb") as file:
            is_pickle = looks_pickled(file.read(9))
        state = {} if is_pickle else safetensors.torch.load_file(path)
    except (OSError, ValueError) as error:  # a NUL in the path is a ValueError
        raise GenomeError(f"weights cannot be read: {getattr(error, 'strerror', None) or error}", file=path) from None
    except SafetensorError as error:
        raise GenomeError(
            f"weights cannot be read: not a safetensors file that torch can read ({error})", file=path
        ) from None
    if is_pickle:
        message = "a pickle, which can run code when it is read; save its tensors with safetensors.torch.save_file"
        raise GenomeError(f"weights cannot be read: {message}", file=path)
    return state


def looks_pickled(head: bytes) -> bool:
    """Whether a file that begins so is a pickle. Safetensors begin with a length, any 8 bytes, and then a brace."""
    return head.startswith(ARCHIVE) or (head.startswith(PICKLE) and head[8:9] != b"{")


def _fits(tensor: Tensor, own: Tensor) -> bool:
    half = own.dtype == torch.float32 and tensor.dtype in (torch.float16, torch.bfloat16)
    return tensor.shape == own.shape and (half or tensor.dtype == own.dtype)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
