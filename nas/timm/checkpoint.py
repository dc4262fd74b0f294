"""The tensors of a checkpoint that was written elsewhere: by timm's scripts, by torch.save, by safetensors.

    {name: tensor}                                   a state dict
    {"model": state, ...}, {"state_dict": ...}       a training's checkpoint; its weight average, where it has one
                                                     ("state_dict_ema", "model_ema"), comes first, as in timm

Nothing in the file is executed: what torch.save wrote is read with `weights_only=True`. The first bytes tell the two
formats apart, so a wrong suffix does no harm.
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from timm.models import clean_state_dict
from torch import Tensor, nn

from nas.archive import check_archive
from nas.errors import SpecError, shown
from nas.files import regular
from nas.model.build import ARCHIVE, looks_pickled

STATES = ("state_dict_ema", "model_ema", "state_dict", "model")  # keys of a training's checkpoint, the best first


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file of safetensors or torch.save, on the CPU; prefixes of DDP and torch.compile are removed.

    Raises SpecError for a file that is missing, damaged, not a checkpoint, or that needs code to be read.

    >>> read_state(Path("deit_tiny_patch16_224-a1311bcf.pth"))["cls_token"].shape
    torch.Size([1, 1, 192])
    """
    content = _torch_load(path) if _is_pickle(path) else _safetensors(path)
    while isinstance(content, dict) and (key := next((k for k in STATES if content.get(k) is not None), None)):
        content = content[key]
    tensors = isinstance(content, dict) and content and all(isinstance(value, Tensor) for value in content.values())
    if not tensors:
        found = f"the keys {shown(sorted(map(str, content)))}" if isinstance(content, dict) else type(content).__name__
        wanted = f"tensors by name, or these under one of {', '.join(STATES)}"
        raise SpecError(f"no weights in it: expected {wanted}; found {found}", file=path)
    state: dict[str, Tensor] = clean_state_dict(content)
    return state


def _is_pickle(path: Path) -> bool:
    try:
        with regular(path).open("rb") as file:
            return looks_pickled(file.read(9))
    except (OSError, ValueError) as error:  # a NUL in the path is a ValueError
        raise SpecError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=path) from None


def _safetensors(path: Path) -> Any:
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        message = f"no checkpoint: neither torch.save wrote it, nor is it a whole safetensors file ({error})"
        raise SpecError(message, file=path) from None


def _torch_load(path: Path) -> Any:
    options = torch.serialization.safe_globals([argparse.Namespace])  # timm's train.py saves its own beside the weights
    try:
        with options, path.open("rb") as file:  # an open file: by its path, torch would go by the suffix
            if file.read(len(ARCHIVE)) == ARCHIVE:  # pickles of before torch 1.6 have no checksums
                check_archive(file)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise SpecError(
            "holds Python objects beside tensors, and reading those can run code, so it is not read. If you trust it: "
            "safetensors.torch.save_file(STATE, 'weights.safetensors'), with the STATE dict that is in "
            "torch.load(FILE, weights_only=False)",
            file=path,
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise SpecError(f"no checkpoint that torch can read: {shown(str(error))}", file=path) from None


def misfit(state: dict[str, Tensor], model: nn.Module) -> str:
    """Why a state dict is not this model's, by its first tensor that does not fit; empty if all fit."""
    own = model.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}  # not in checkpoints of before 2018
    problems = [f"{name} is missing" for name in own if name not in state and name not in counters]
    problems += [
        f"{name}: expected {_form(own[name])}, found {_form(tensor)}"
        for name, tensor in state.items()
        if name in own and _form(own[name]) != _form(tensor)
    ]
    problems += [f"{name} has no place in it" for name in state if name not in own]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}" if problems else ""


def _form(tensor: Tensor) -> str:
    """Shape and kind. Any floating-point type fits another; integers in the place of floats do not."""
    return f"{tuple(tensor.shape)}{'' if tensor.is_floating_point() else ' of integers'}"
