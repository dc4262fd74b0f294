"""A model that starts from the trained weights of another: whatever has the same role is taken from the donor.

| part | taken from the donor |
|---|---|
| embeddings, norms, MLPs, output projections, head | the tensor of the same name |
| positions | the same, interpolated where the grid differs; zero where the donor has none |
| rows of positions for prefix tokens | the same; added to these tokens where the genome has no such rows |
| the last norm | the same, of tokens or of the pooled vector |
| q, k, v | those rows that the new core projects |
| a block with the same tensors | the same; otherwise the block says in its file how it takes over (`take_over`) |
| scales of layers | the same; ones where the donor has none; folded into the projection where the genome has none |
| layers beyond the donor's depth | none: their projections start at zero, so that they change nothing |

With images, the output projection of each layer whose mixing changed is then solved in closed form (closed_form.py).
Stages, widths, heads, strides and MLPs must be the donor's: the first one that is not is named. Layers beyond the
donor's depth that have no output projection (pooling, skip_attention) answer from the first.

Legend: B images, N tokens, C width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from nas.blocks import Block
from nas.blocks.base import Rows
from nas.blocks.relative import RelativeBias
from nas.genome import Genome
from nas.genome.layout import StagePlan
from nas.model.closed_form import solve_projections
from nas.model.donor import Donor
from nas.model.inheritable import check_inheritable, tokens_of
from nas.model.layer import Attention, Layer
from nas.model.pyramid import Model
from nas.model.resize import resized_position, resized_relative

M = TypeVar("M", bound=Model)
SAME_NAMES = ("norm", "mlp.", "scale", "attention.proj.", "attention.q_norm.", "attention.k_norm.")  # of a layer


class Inherited(NamedTuple, Generic[M]):
    """A model, and where each of its tensors comes from: the donor, a closed form, or its initial values.

    A q, k, v projection counts as inherited only if all of its rows are.
    """

    model: M
    inherited: tuple[str, ...]
    solved: tuple[str, ...]
    fresh: tuple[str, ...]


@torch.no_grad()
def inherit(
    genome: Genome, donor: Donor, images_BCHW: Tensor | None = None, *, model_class: type[M] | type[Model] = Model
) -> Inherited[M]:
    """A model of `genome` with the donor's weights, on the images' device or else on the CPU.

    An equal genome gives bit-equal logits. images_BCHW: normalised images for the closed form; None leaves it out, as
    do other tokens (image size, class token). What neither gives is initialised from torch's RNG. Raises GenomeError if
    the genome's stages, widths, heads, strides or MLPs are not the donor's.

    >>> parent = Donor.of(nas.build("winner.yaml", weights=True))
    >>> inherit(parent.genome.edit({"stages.1.split": 1}), parent).fresh
    ('stages.1.layers.1.attention.core.psi.weight', 'stages.1.layers.1.attention.core.theta.weight')
    """
    check_inheritable(genome, donor.genome)
    model: M = model_class(genome)  # type: ignore[assignment]
    transfer = _Transfer(model, donor)
    transfer.run()
    solved: set[str] = set()
    same_tokens = all(tokens_of(a) == tokens_of(b) for a, b in zip(genome.layout, donor.genome.layout, strict=True))
    if images_BCHW is not None and same_tokens:
        there = images_BCHW.device
        solve_projections(model.to(there).eval(), donor.model().to(there), transfer.changed, images_BCHW)
        solved = {f"{name}.attention.proj.{part}" for name in transfer.changed for part in ("weight", "bias")}
    names = list(model.state_dict())
    inherited = tuple(name for name in names if name in transfer.taken and name not in solved)
    fresh = tuple(name for name in names if name not in transfer.taken and name not in solved)
    return Inherited(model.train(), inherited, tuple(sorted(solved, key=names.index)), fresh)


class _Transfer:
    """Copies a donor's tensors into a fresh model. `taken`: their names there.

    changed: layers that mix tokens otherwise than in the donor, and have its output projection.
    """

    def __init__(self, model: Model, donor: Donor):
        self.model, self.donor = model, donor
        self.own = model.state_dict()  # shares memory with the model
        self.taken: set[str] = set()
        self.changed: list[str] = []

    def run(self) -> None:
        for name in self.own:
            if ".layers." not in name and not name.endswith(("position", "residual.scale")):
                self.copy(name) or self.copy(name, at=_other_place(name))
        plans = zip(self.model.stages, self.model.genome.layout, self.donor.genome.layout, strict=True)
        for stage, ours, theirs in plans:
            self.positions(ours, theirs)
            if stage.residual is not None and not self.copy(f"{ours.name}.residual.scale"):
                nn.init.zeros_(stage.residual.scale)
            for number, layer in enumerate(stage.layers):
                if number < len(theirs.layers):
                    self.layer(layer, ours, theirs, number)
                else:
                    _silence(layer)

    def copy(self, name: str, *, at: str | None = None) -> bool:
        """Copy the donor's tensor `at` (or `name`) if it has one of this shape."""
        theirs = self.donor.state.get(at or name)
        if theirs is None or theirs.shape != self.own[name].shape:
            return False
        self.own[name].copy_(theirs)
        self.taken.add(name)
        return True

    def positions(self, ours: StagePlan, theirs: StagePlan) -> None:
        name = f"{ours.name}.position"
        table_1NC = self.donor.state.get(name)
        if name not in self.own:
            return
        self.own[name].zero_()
        if table_1NC is None:
            return
        if ours.grid != theirs.grid:
            table_1NC = resized_position(table_1NC, theirs, ours)
        pixels = ours.grid[0] * ours.grid[1]
        self.own[name][:, -pixels:] = table_1NC[:, -pixels:]
        if self.donor.genome.position == "absolute":
            own, other = _prefix_rows(ours, self.model.genome), _prefix_rows(theirs, self.donor.genome)
            for part in own:
                if f"{ours.name}.{part}" in self.taken and self.model.genome.position == "absolute":
                    self.own[name][:, own[part]] = table_1NC[:, other[part]]
                elif f"{ours.name}.{part}" in self.taken:
                    self.own[f"{ours.name}.{part}"].add_(table_1NC[:, other[part]])
        self.taken.add(name)

    def layer(self, layer: Layer, ours: StagePlan, theirs: StagePlan, number: int) -> None:
        name = layer.name
        after, before = ours.layers[number], theirs.layers[number]
        for part in self.own:
            inner = part.removeprefix(f"{name}.")
            if inner != part and inner.startswith(SAME_NAMES):
                self.copy(part)
        if f"{name}.mlp.conv.weight" not in self.taken:
            layer.mlp.take_over()
        self.scales(name)
        rows = self.rows(name, theirs, number)
        self.projections(name, layer.attention, after.site.width, rows)
        for slot in ("core", "auxiliary", "local"):
            block = getattr(layer.attention, slot)
            if block is not None:
                self.block(f"{name}.attention.{slot}", block, rows)
        if (after.core, after.local) != (before.core, before.local) and f"{name}.attention.proj.weight" in self.taken:
            self.changed.append(name)

    def scales(self, name: str) -> None:
        """Layer scales γ of the donor that the genome does not have, or the other way round."""
        for number, part in ((1, "attention.proj"), (2, "mlp.fc2")):
            gamma = f"{name}.scale{number}.gamma"
            if gamma in self.own and gamma not in self.taken:
                self.own[gamma].fill_(1.0)
            elif gamma not in self.own and gamma in self.donor.state and f"{name}.{part}.weight" in self.taken:
                self.own[f"{name}.{part}.weight"].mul_(self.donor.state[gamma][:, None])
                self.own[f"{name}.{part}.bias"].mul_(self.donor.state[gamma])

    def rows(self, name: str, theirs: StagePlan, number: int) -> dict[str, Rows]:
        """The donor's projections in this layer, wherever they are held."""
        plan, state = theirs.layers[number], self.donor.state
        held = Attention(plan, self.donor.genome)
        prefix = f"{name}.attention."
        held.load_state_dict({key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)})
        found: dict[str, Rows] = held.core.held_rows()
        if held.qkv is not None:
            weights = held.qkv.weight.chunk(len(held.projects))
            biases = held.qkv.bias.chunk(len(held.projects)) if held.qkv.bias is not None else (None,) * len(weights)
            found |= {letter: Rows(*pair) for letter, *pair in zip(held.projects, weights, biases, strict=True)}
        return found

    def projections(self, name: str, attention: Attention, width: int, rows: Mapping[str, Rows]) -> None:
        if attention.qkv is None:
            return
        for number, letter in enumerate(attention.projects):
            part = slice(number * width, (number + 1) * width)
            if letter in rows:
                attention.qkv.weight[part] = rows[letter].weight_CC
                if attention.qkv.bias is not None:
                    attention.qkv.bias[part] = 0.0 if (bias_C := rows[letter].bias_C) is None else bias_C
        if set(attention.projects) <= rows.keys():
            self.taken |= {f"{name}.attention.qkv.{part}" for part, _ in attention.qkv.named_parameters()}

    def block(self, name: str, block: Block, rows: Mapping[str, Rows]) -> None:
        """The donor's tensors where its block is the same kind with tensors that fit, otherwise the block's own way."""
        own = {part: f"{name}.{part}" for part in block.state_dict()}
        theirs = {part: t for part, full in own.items() if (t := self.donor.state.get(full)) is not None}
        tables = {part for part, module in block.named_modules() if isinstance(module, RelativeBias)}
        for part in {f"{table}.table" for table in tables} & theirs.keys():
            if theirs[part].shape[1] == self.own[own[part]].shape[1]:
                theirs[part] = resized_relative(theirs[part], len(self.own[own[part]]))
        before = self.donor.genome.layout
        same = self._donor_block(name, before) == block.name
        if same and theirs.keys() == own.keys() and all(t.shape == self.own[own[p]].shape for p, t in theirs.items()):
            for part, tensor in theirs.items():
                self.own[own[part]].copy_(tensor)
            self.taken |= set(own.values())
        else:
            self.taken |= {own[part] for part in block.take_over(rows)}

    @staticmethod
    def _donor_block(name: str, layout: tuple[StagePlan, ...]) -> str | None:
        """The donor's block at `stages.I.layers.J.attention.SLOT`."""
        _, stage, _, layer, _, slot = name.split(".")
        config = getattr(layout[int(stage)].layers[int(layer)], slot)
        return config.block if config is not None else None


def _other_place(name: str) -> str:
    """The last norm is `norm` of all tokens, or `head_norm` of the pooled vector."""
    return name.removeprefix("head_") if name.startswith("head_norm.") else f"head_{name}"


def _prefix_rows(plan: StagePlan, genome: Genome) -> dict[str, slice]:
    """Where class token and registers stand among the tokens of a stage."""
    token = plan.prefix - genome.registers if plan.prefix else 0
    return {"token": slice(0, token), "registers": slice(token, plan.prefix)}


def _silence(layer: Layer) -> None:
    """A layer that the donor does not have answers zero at first, if it has an output projection."""
    for linear in (layer.attention.proj, layer.mlp.fc2):
        for parameter in linear.parameters():
            nn.init.zeros_(parameter)
