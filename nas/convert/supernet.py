"""Many assemblies as one model with shared weights: all pieces of the library beside the parent's own layers.

    training    each batch goes through one of the assemblies, drawn at random; what they have in common learns from all
    evaluation  the parent's own layers

This is the one-shot training of SPOS (Guo et al., ECCV 2020), begun from trained weights: an assembly has the parent's
layers and the pieces that it names, and before the first step it answers as it does alone. All assemblies together cost
one training.

A member is a model of its own whose parameters and persistent buffers are those of the whole. It is not registered as a
submodule, since every tensor is to be in the state once. Its remaining buffers are constants. It is in training mode
throughout, since it answers in training alone; a copy of the whole, which is the average that is evaluated, has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from nas.convert.candidates import Assembly, Candidate, replaced
from nas.convert.library import converted
from nas.model import Donor, Model


class Supernet(Model):
    """The members of `assemblies`, of which each forward pass in training mode draws one from torch's generator.

    >>> net = Supernet(donor, [{}, {"stages.0.layers.1": "reuse"}], DEFAULT, states)
    >>> donor, states = net.taken_apart(net.state_dict())
    """

    def __init__(
        self,
        donor: Donor,
        assemblies: Sequence[Assembly],
        candidates: Mapping[str, Candidate],
        states: Mapping[str, Mapping[str, Tensor]],
    ):
        """donor: its genome is `listed`. states: of every piece that an assembly names."""
        super().__init__(donor.genome)
        self.load_state_dict(dict(donor.state))
        self.pieces = nn.ModuleDict()
        self.assemblies = list(assemblies)
        self.members: list[Model] = []
        for assembly in self.assemblies:
            member = converted(donor, assembly, candidates, states).train()
            for layer, name in replaced(assembly):
                if (key := _key(layer, name)) not in self.pieces:
                    self.pieces[key] = member.get_submodule(f"{layer}.attention")
            self.members.append(member)
        self._share()

    def forward(self, images_BCHW: Tensor, trace: Any = False) -> Any:
        if not self.training:
            return super().forward(images_BCHW, trace)
        return self.members[int(torch.randint(len(self.members), ()))](images_BCHW, trace)

    def _share(self) -> None:
        """Give every member the tensors of the whole."""
        own = dict(self.named_modules())
        for assembly, member in zip(self.assemblies, self.members, strict=True):
            homes = {f"{layer}.attention": f"pieces.{_key(layer, name)}" for layer, name in replaced(assembly)}
            for path, module in member.named_modules():
                start = ".".join(path.split(".")[:5])  # stages.0.layers.1.attention
                ours = own[homes.get(start, start) + path[len(start) :]]
                module._parameters = ours._parameters
                for name in ours._buffers.keys() - ours._non_persistent_buffers_set:
                    module._buffers[name] = ours._buffers[name]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or convert the whole, and the constants of the members."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for member in self.members:
            for module in member.modules():
                for name in module._non_persistent_buffers_set:
                    buffer = module._buffers[name]
                    module._buffers[name] = None if buffer is None else fn(buffer)
        self._share()
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"assemblies": [], "members": []}

    def set_progress(self, progress: float) -> None:
        super().set_progress(progress)
        for member in self.members:
            member.set_progress(progress)

    def taken_apart(self, state: Mapping[str, Tensor]) -> tuple[Donor, dict[str, dict[str, Tensor]]]:
        """The parent and the pieces' attention, by the piece's name, from a state of this module."""
        own = {name: tensor for name, tensor in state.items() if not name.startswith("pieces.")}
        states: dict[str, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("pieces."):
                _, key, part = name.split(".", 2)
                states.setdefault(key.replace("/", "."), {})[part] = tensor
        return Donor(self.genome, own), states


def _key(layer: str, name: str) -> str:
    """A piece's name (`Piece.name`) as that of a submodule."""
    return f"{layer}-{name}".replace(".", "/")
