"""Whether a piece of the library that was read is what was written: by its seal, or by its form if it has none.

The seal is the SHA-256 of all that a piece holds: types, shapes and bytes of tensors, and the rest as it is. Pieces of
earlier versions have none. They are believed if they have the form of their layer, candidate and rounds, and if all
numbers are finite; other values of that form do not show. A sealed piece may hold what is not finite: its training
diverged.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from nas.convert.candidates import Place, assembled
from nas.convert.library import Piece, optimizer_of
from nas.convert.plan import Parts
from nas.errors import shown
from nas.model import Model
from nas.model.layer import Attention


def seal_of(content: Mapping[str, Any]) -> str:
    """The SHA-256 of a piece's content, in hex."""
    return hashlib.sha256(repr(_outlined(content, _digest)).encode()).hexdigest()


def check_form(content: Mapping[str, Any], place: Place, parts: Parts, rounds: int) -> None:
    """Raise an error, of whatever kind, for the content of what cannot be this piece after 1 to `rounds` rounds."""
    done, errors, optimizer = content["rounds"], content["errors"], content["optimizer"]
    if type(done) is not int or not 1 <= done <= rounds:
        raise ValueError(f"expected 1 to {rounds} rounds, found {shown(done)}")
    if [type(error) for error in errors] != [float] * (done + 1) or not all(map(math.isfinite, errors)):
        raise ValueError(f"expected {done + 1} finite errors, found {shown(errors)}")
    like = _blank(place, parts).content()
    if _outlined(content["attention"], _finite_form) != _outlined(like["attention"], _form):
        raise ValueError("its weights are not finite, or not those of its layer and candidate")
    groups = [group | {"lr": 0.0} for group in optimizer["param_groups"]]  # each step sets its own rate
    states = _outlined(optimizer["state"], _finite_form), _outlined(like["optimizer"]["state"], _form)
    if groups != like["optimizer"]["param_groups"] or states[0] != states[1]:
        raise ValueError("the state of its optimiser is not finite, or not that of its weights")


def _blank(place: Place, parts: Parts) -> Piece:
    """A piece of the form that it has after a round. Its tensors have no values."""
    layer, candidate = place
    with torch.device("meta"):
        model = Model(assembled(parts.parent, {layer: candidate}, parts.candidates))
    attention = model.get_submodule(f"{layer}.attention")
    assert isinstance(attention, Attention)
    piece = Piece(layer, candidate, attention)
    optimizer = optimizer_of(piece, lr=0.0)
    for parameter in attention.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    piece.optimizer = optimizer.state_dict()
    return piece


def _outlined(value: Any, told: Callable[[Tensor], Any]) -> Any:
    """Plain data, with `told(tensor)` in place of each tensor."""
    if isinstance(value, Tensor):
        return told(value)
    if isinstance(value, Mapping):
        return {key: _outlined(each, told) for key, each in value.items()}
    return [_outlined(each, told) for each in value] if isinstance(value, list | tuple) else value


def _digest(tensor: Tensor) -> Any:
    blob = tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data
    return str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(blob).hexdigest()


def _form(tensor: Tensor, finite: bool = True) -> Any:
    return tensor.dtype, tensor.shape, finite


def _finite_form(tensor: Tensor) -> Any:
    return _form(tensor, bool(tensor.isfinite().all()))
