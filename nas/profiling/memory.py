"""Peak memory of inference on one image: the deployed graph's weights, and the largest total of live tensors.

    peak = Σ weights + max over time of Σ live tensors                 (bytes; float32, one image, no autograd)

The count is of bytes requested from torch's allocator: parameters and buffers once, every other tensor from the
operation that makes it until the last reference is gone. While a layer runs, these are live as well: its input (for
the residual), the scores and the output passed on by the layer before, and the tokens and scores of the stage before.
The image and the workspaces of kernels (MKL, oneDNN), which differ by device, are not counted. Attention is counted as
the fused kernel if q, k and v have one head size, else with the matrices that torch makes.

The graph runs on the `meta` device, where tensors have shapes, strides and lifetimes but no values; every block that
runs there is supported. It runs part by part (see parts.py). The bytes of a part depend only on its key and on the
form of its input, so each combination runs once and is then looked up.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property, partial
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.blocks import Scores, registered
from nas.genome import Genome
from nas.model import Model, build, deploy
from nas.model.layer import Carry
from nas.profiling.parts import parts


def peak_memory(genome: Genome) -> int:
    """Bytes, weights included. Takes milliseconds if all parts are known.

    >>> peak_memory(load_genome("deit_tiny"))
    25895584
    """
    run, image, last = _Run(genome), genome.image, len(genome.layout) - 1
    images_BCHW = torch.empty(1, image.channels, image.size, image.size, device="meta")
    left = _Part(0, 0, 0, (images_BCHW, None))  # held by the caller
    for index, stage in enumerate(genome.layout):
        ends = (index == 0, index == last, stage.layers[0].site.heads)  # heads: of an attention residual
        before, part = left, run(stage.name, ("enter", *ends), partial(_enter, index), left)
        for number, (plan, after) in enumerate(zip_longest(stage.layers, stage.layers[1:])):
            reused = after is not None and registered("core")[after.core.block].needs == "mixed"
            part = run(plan.name, ("step", reused), partial(_step, index, number), part, before.held)
        left = run(stage.name, ("leave", *ends), partial(_leave, index), part, before.held)
    run("", ("head",), _head, left)
    return run.weights + run.peak


def _enter(index: int, model: Model, x: Tensor, scores: Scores | None) -> tuple[Tensor, Carry]:
    return model.stages[index].enter(model.stage_input(index, x), scores)


def _step(index: int, number: int, model: Model, x_BNC: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
    stage = model.stages[index]
    return stage.step(stage.layers[number], x_BNC, carry, None)


def _leave(index: int, model: Model, x_BNC: Tensor, carry: Carry) -> tuple[Tensor, Scores | None]:
    return model.stages[index].norm(x_BNC), carry.scores


def _head(model: Model, x_BNC: Tensor, scores: Scores | None) -> tuple[Tensor]:
    return (model.forward_head(model.norm(x_BNC)),)


@dataclass(frozen=True)
class _Part:
    """A part: bytes of its own weights, peak bytes inside it, bytes of its output; and the output itself."""

    weights: int
    inside: int
    held: int
    output: tuple[Any, ...]

    @cached_property
    def form(self) -> tuple[Any, ...]:
        """All that the next part's memory depends on: shapes, memory layout, and which tensors share storage."""
        storages: dict[int, int] = {}
        return tuple(_form(leaf, storages) for leaf in _leaves(self.output))


_KNOWN: dict[tuple[Any, ...], _Part] = {}  # some kilobytes per part


class _Run:
    """Inference of one genome, one part at a time. The model is built only if a part is new."""

    def __init__(self, genome: Genome):
        self.genome, self.keys = genome, parts(genome)
        self.weights = self.peak = 0

    @cached_property
    def model(self) -> Model:
        with torch.device("meta"):
            return deploy(build(self.genome))

    def __call__(
        self, name: str, phase: tuple[Any, ...], call: Callable[..., tuple[Any, ...]], before: _Part, kept: int = 0
    ) -> _Part:
        """kept: bytes that stay live, besides the output of the part before."""
        key = (self.keys[name], phase, before.form)
        if key not in _KNOWN:
            model = self.model  # built before anything is counted
            with torch.no_grad(), _Fused(), _Live() as live:
                output = call(model, *before.output)
            weights = 0 if phase[0] == "leave" else _own_weights(model, name)
            tensors = [leaf for leaf in _leaves(output) if isinstance(leaf, Tensor)]
            held = {_address(tensor): tensor.untyped_storage().nbytes() for tensor in tensors}
            _KNOWN[key] = _Part(weights, live.peak, sum(held.values()), output)
        part = _KNOWN[key]
        self.weights += part.weights
        self.peak = max(self.peak, kept + before.held + part.inside)
        return part


class _Live(TorchDispatchMode):
    """Bytes of all storages that operations have made and that still have a tensor: now, and at most."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self._add((args, kwargs), counted=False)  # weights and inputs
        output = func(*args, **(kwargs or {}))
        self._add(output, counted=True)
        return output

    def _add(self, tensors: Any, *, counted: bool) -> None:
        for leaf in tree_leaves(tensors):
            if isinstance(leaf, Tensor) and _address(leaf) not in self.known:
                storage = leaf.untyped_storage()
                size = storage.nbytes() if counted else 0
                self.known.add(_address(leaf))
                weakref.finalize(storage, self._free, _address(leaf), size)
                self.now += size
                self.peak = max(self.peak, self.now)

    def _free(self, address: int, size: int) -> None:
        self.known.discard(address)  # the address may be used again
        self.now -= size


class _Fused(TorchFunctionMode):
    """Attention without an N×N matrix, as the fused kernels of CPU and CUDA compute it; the meta device has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        call = partial(func, *args, **(kwargs or {}))
        return _attention(call, *args, **(kwargs or {})) if func is F.scaled_dot_product_attention else call()


def _attention(
    call: Callable[[], Tensor], query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """The output of `call` in the memory layout of the fused kernels: (B, N, H, D)."""
    if query.ndim != 4 or query.shape[-1] != value.shape[-1]:
        return call()
    batch, heads, tokens, features = query.shape
    return query.new_empty(batch, tokens, heads, features).transpose(1, 2)


def _own_weights(model: Model, name: str) -> int:
    """Bytes of a part's parameters and buffers, without those of the parts inside it."""
    module = model.get_submodule(name)
    inner = "layers." if name else "stages."
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return sum(tensor.nbytes for path, tensor in tensors if not path.startswith(inner))


def _leaves(value: Any) -> Iterator[Any]:
    """Tensors and plain values of a part's output, which consists of tuples and `Scores`."""
    if is_dataclass(value):
        value = tuple(getattr(value, each.name) for each in fields(value))
    if isinstance(value, tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value


def _form(leaf: Any, storages: dict[int, int]) -> Any:
    if not isinstance(leaf, Tensor):
        return leaf
    number = storages.setdefault(_address(leaf), len(storages))
    return number, tuple(leaf.shape), leaf.stride(), leaf.storage_offset(), leaf.untyped_storage().nbytes()


def _address(tensor: Tensor) -> int:
    """The address of a tensor's storage, which views share."""
    address: int = tensor.untyped_storage()._cdata
    return address
