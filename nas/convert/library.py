"""The library: every candidate of every layer, trained alone to answer what the parent's attention answers there.

    min over the candidate's attention    ‖o_parent − o_candidate‖² / ‖o_parent‖²        (Puzzle, arXiv 2411.19146)

A piece is the attention of one layer as a candidate makes it. It starts from the parent's weights, with its output
projection solved in closed form (nas/model/inherit.py), and is trained on the parent's own inputs to that layer: the
normalised tokens, and the scores that the parent's layers before hand on. So all pieces learn from one forward pass of
the parent, independently of each other, and labels are not needed.

Training is cut into rounds, each once over the images in an order that depends on the round alone. A piece's state
after a round depends on nothing but the parent and the images: pieces may be trained in any company, and a killed
training goes on with the round that was begun.

Legend: B images, N tokens, C width.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import ConfigDict, Field
from torch import Tensor, nn

from nas.convert.candidates import KEEP, Candidate, assembled, replaced
from nas.data import Split
from nas.heartbeat import beat
from nas.keys import Keys
from nas.model import Donor, Model, inherit
from nas.model.closed_form import refit
from nas.model.inherit import Inherited
from nas.model.layer import Attention, Carry, Layer
from nas.seeds import derive


class Distillation(Keys):
    """How pieces are trained: AdamW, with a cosine over all rounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    rounds: int = Field(2, ge=1, le=1000, description="times over the images")
    images: int = Field(4096, ge=1, le=1_000_000_000, description="training images at most, evenly spaced")
    batch_size: int = Field(64, ge=1, le=1_000_000, description="images per step")
    lr: float = Field(1e-3, gt=0, description="peak learning rate")
    closed_form: int = Field(
        256, ge=0, le=1_000_000, description="images from which output projections are solved first; 0: none"
    )


@dataclass
class Piece:
    """The attention of `layer` as `candidate` makes it.

    errors: on held-out images, of the start and after each round.
    """

    layer: str
    candidate: str
    attention: Attention
    rounds: int = 0
    errors: list[float] = field(default_factory=list)
    optimizer: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return f"{self.layer}-{self.candidate}"

    def content(self) -> dict[str, Any]:
        """What has to be kept for the next round: plain data and tensors."""
        state = {"attention": self.attention.state_dict(), "optimizer": self.optimizer}
        return state | {"rounds": self.rounds, "errors": self.errors}

    def resume(self, content: Mapping[str, Any]) -> None:
        """Continue from `content()` of the same piece."""
        self.attention.load_state_dict(content["attention"])
        self.optimizer, self.rounds, self.errors = (content[key] for key in ("optimizer", "rounds", "errors"))


def begin(
    donor: Donor, options: Mapping[str, Sequence[str]], candidates: Mapping[str, Candidate], images_BCHW: Tensor | None
) -> list[Piece]:
    """All pieces at their start. donor: its genome is `listed`. options: by layer, from `offered`.

    images_BCHW: normalised images, from which output projections are solved in closed form; None leaves that out.

    >>> [piece.name for piece in begin(donor, offered(donor.genome, DEFAULT), DEFAULT, images_BCHW)][:1]
    ['stages.0.layers.0-linear']
    """
    pieces = []
    for layer, names in options.items():
        for name in names:
            if name == KEEP:
                continue
            beat()
            genome = assembled(donor.genome, {layer: name}, candidates)
            torch.manual_seed(derive(0, "piece", layer, name))
            found: Inherited[Model] = inherit(genome, donor)
            attention = found.model.get_submodule(f"{layer}.attention")
            assert isinstance(attention, Attention)
            pieces.append(Piece(layer, name, attention))
    if images_BCHW is not None:
        _solve(donor.model(), pieces, images_BCHW)
    return pieces


@torch.no_grad()
def _solve(parent: Model, pieces: Sequence[Piece], images_BCHW: Tensor) -> None:
    """Solve the output projection of each piece for the parent's answers, in place."""
    seen = look(parent, {piece.layer for piece in pieces}, images_BCHW)
    for piece in pieces:
        beat()
        there, proj = seen[piece.layer], piece.attention.proj
        if isinstance(proj, nn.Linear):
            mixed_BNC = piece.attention.eval().mix(there.x_BNC, there.carry)[0]
            refit(proj, mixed_BNC.double(), there.answer_BNC.double())


def distil(parent: Model, pieces: Sequence[Piece], train: Split, held_out: Split, how: Distillation) -> None:
    """Train each piece for one more round, in place; all must have had as many. The parent is in eval mode.

    train, held_out: of the parent's images; the model's device is the pieces'.
    """
    done = pieces[0].rounds
    device = next(parent.parameters()).device
    images = train.spread(how.images)
    if done == 0:
        before = errors(parent, pieces, held_out)
        for piece in pieces:
            piece.errors.append(before[piece.name])
    steps = images.batch_count(how.batch_size, drop_last=True)
    optimizers = {piece.name: optimizer_of(piece, how.lr) for piece in pieces}
    batches = images.batches(how.batch_size, device=device, seed=derive(0, "library", done), drop_last=True)
    for step, (images_BCHW, _) in enumerate(batches):
        progress = (done * steps + step) / (how.rounds * steps)
        seen = look(parent, {piece.layer for piece in pieces}, images_BCHW)
        for piece in pieces:
            beat()
            optimizer = optimizers[piece.name]
            for group in optimizer.param_groups:
                group["lr"] = how.lr * min(1.0, (done * steps + step + 1) / 10) * (1 + math.cos(math.pi * progress)) / 2
            optimizer.zero_grad()
            _error(piece.attention.train(), seen[piece.layer]).backward()
            nn.utils.clip_grad_norm_(piece.attention.parameters(), 1.0)
            optimizer.step()
    after = errors(parent, pieces, held_out)
    for piece in pieces:
        piece.rounds += 1
        piece.errors.append(after[piece.name])
        piece.optimizer = optimizers[piece.name].state_dict()


@dataclass(frozen=True)
class Seen:
    """What a layer of the parent was given and answered: the input of its attention, and the attention's answer."""

    x_BNC: Tensor
    carry: Carry
    answer_BNC: Tensor


@torch.no_grad()
def look(parent: Model, layers: Iterable[str], images_BCHW: Tensor) -> dict[str, Seen]:
    """One forward pass of the parent, and what its layers see in it."""
    found: dict[str, Seen] = {}
    with _hooked(parent, layers, found):
        parent.forward_features(images_BCHW)
    return found


@torch.no_grad()
def errors(parent: Model, pieces: Sequence[Piece], held_out: Split, batch_size: int = 256) -> dict[str, float]:
    """The relative error of each piece on held-out images."""
    device = next(parent.parameters()).device
    sums: dict[str, float] = defaultdict(float)
    count = 0
    for images_BCHW, _ in held_out.batches(batch_size, device=device):
        seen = look(parent, {piece.layer for piece in pieces}, images_BCHW)
        for piece in pieces:
            beat()
            sums[piece.name] += float(_error(piece.attention.eval(), seen[piece.layer])) * len(images_BCHW)
        count += len(images_BCHW)
    return {name: total / count for name, total in sums.items()}


def _error(attention: Attention, seen: Seen) -> Tensor:
    answer_BNC: Tensor = attention(seen.x_BNC, seen.carry)[0]
    return (answer_BNC - seen.answer_BNC).square().sum() / seen.answer_BNC.square().sum().clamp_min(1e-12)


def optimizer_of(piece: Piece, lr: float) -> torch.optim.Optimizer:
    """The optimiser of a piece, in the state in which the last round left it."""
    optimizer = torch.optim.AdamW(piece.attention.parameters(), lr=lr, weight_decay=0.0)
    if piece.optimizer is not None:
        optimizer.load_state_dict(piece.optimizer)
    return optimizer


@contextmanager
def _hooked(parent: Model, layers: Iterable[str], found: dict[str, Seen]) -> Iterator[None]:
    hooks = []
    for name in layers:
        layer = parent.get_submodule(name)
        assert isinstance(layer, Layer)

        def keep(module: nn.Module, inputs: tuple[Any, ...], outputs: tuple[Any, ...], name: str = name) -> None:
            found[name] = Seen(inputs[0], inputs[1], outputs[0])

        hooks.append(layer.attention.register_forward_hook(keep))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def converted(
    donor: Donor,
    assembly: Mapping[str, str],
    candidates: Mapping[str, Candidate],
    states: Mapping[str, Mapping[str, Tensor]],
) -> Model:
    """The parent with pieces in their layers, in eval mode. states: of the pieces' attention, by the piece's name.

    Raises GenomeError if the candidates make no sense together.
    """
    model = Model(assembled(donor.genome, dict(assembly), candidates)).eval()
    state = dict(donor.state)
    for layer, name in replaced(assembly):
        prefix = f"{layer}.attention."
        state = {key: tensor for key, tensor in state.items() if not key.startswith(prefix)}
        state |= {f"{prefix}{key}": tensor for key, tensor in states[f"{layer}-{name}"].items()}
    model.load_state_dict({name: state[name] for name in model.state_dict()})
    return model


def transplanted(model: Model, assembly: Mapping[str, str]) -> Donor:
    """What `converted` has made of an assembly, as a donor, whose pieces are young."""
    state = model.state_dict()
    fresh = tuple(f"{layer}.attention." for layer, _ in replaced(assembly))
    return Donor(model.genome, state, frozenset(name for name in state if name.startswith(fresh)))
