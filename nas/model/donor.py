"""A trained model as data, for other models to start from (nas/model/inherit.py)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from nas.errors import GenomeError
from nas.genome import Genome
from nas.model.embed import ConvNorm
from nas.model.pyramid import Model


@dataclass(frozen=True, eq=False)
class Donor:
    """A trained model as data: its genome, and its tensors under our names, on the CPU.

    young: tensors that were not trained with the others (parts put in by a conversion), and learn at the full rate.
    """

    genome: Genome
    state: Mapping[str, Tensor]
    young: frozenset[str] = frozenset()

    @classmethod
    def of(cls, model: Model) -> Donor:
        """A snapshot of a model. Raises GenomeError for one that was deployed, if its stem had norms to fold.

        >>> Donor.of(nas.build("winner.yaml", weights=True)).genome.name
        """
        if any(isinstance(module, ConvNorm) and module.fused for module in model.modules()):
            raise GenomeError(
                "the norms of its stem are folded in: start from the model that was deployed", path="stem"
            )
        return cls(model.genome, {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()})

    def model(self) -> Model:
        """The donor as a module in eval mode; a head that it does not have is a new one."""
        model = Model(self.genome).eval()
        model.load_state_dict(dict(self.state), strict=False)
        return model

    def for_classes(self, names: tuple[str, ...]) -> tuple[Donor, str]:
        """The donor with a head for these classes, or without one; and which, as a sentence part.

        A head is kept for as many classes, in the order of the names if both have them; other classes get a fresh one.
        """
        own = self.genome.class_names
        weight_KC = self.state.get("head.weight")
        if weight_KC is not None and len(names) == self.genome.classes and own in (None, names):
            return self, "its head is kept"
        if weight_KC is not None and own is not None and set(own) == set(names):
            order_K = torch.tensor([own.index(name) for name in names])
            head = {name: t[order_K] for name, t in self.state.items() if name.startswith("head.")}
            return replace(self, state={**self.state, **head}), "its head is kept, in the order of the data's classes"
        rest = {name: tensor for name, tensor in self.state.items() if not name.startswith("head.")}
        return replace(self, state=rest), "the head is new, since the classes are others"

    @cached_property
    def digest(self) -> str:
        """16 hex digits over genome, pixels, names of classes, and tensors."""
        served = self.genome.model_dump_json(include={"preprocess", "class_names"})
        digest = hashlib.sha256(" ".join([self.genome.hash, served, *sorted(self.young)]).encode())
        for name, tensor in sorted(self.state.items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]
