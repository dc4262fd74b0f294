"""What a block is, and the registries that blocks join, one for each slot.

An attention layer has three slots, and every block fits one (docs/architecture.md):

    y = normalise( core(q, k, v) + auxiliary(q, k, v) ) + local(v)

A block is one file in this folder with one class decorated by `@block("name")`: the module, its `Config` (a frozen
pydantic model that genomes are validated against), and its `cost` by formula. Importing `nas.blocks` imports every
file of the folder, so that a new file is all that a new block takes. The file may also be a plug-in (nas/plugins.py).

What a block may rely on:
- tensors arrive as (B, N, H, D) views whose memory is (B, N, C), so that merging heads is free; cores answer likewise;
- `Site` tells where the block stands: grid, prefix tokens, width, heads, and the form in which scores come in;
- the batch size may be symbolic: `x.shape[0]` is, and `len(x)` fixes it in what torch.export writes;
- scores travel factored (`Scores`), never as an N×N matrix unless a block says so in `outgoing`.

Legend: B batch, N tokens (prefix + grid), H heads, D head dimension, C = H·D width, E features of factored scores.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, Union, get_args

import torch
from pydantic import (
    AfterValidator,
    ConfigDict,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import CoreSchema
from torch import Tensor, nn

from nas.errors import GenomeError, from_pydantic, nearest, shown
from nas.keys import Keys
from nas.registry import Registry

Slot = Literal["core", "auxiliary", "local"]


class BlockConfig(Keys):
    """Options of a block as a genome writes them; `block` is the name it was registered under."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    block: str


def _odd(kernel: int) -> int:
    if kernel % 2 == 0:
        raise ValueError("the kernel is odd")
    return kernel


OddKernel = Annotated[int, AfterValidator(_odd)]  # the side of a kernel that has a middle


class ScoreForm(NamedTuple):
    """How a layer's scores travel: `factored` with E features, or as a `dense` or row-softmaxed `weights` matrix."""

    kind: Literal["factored", "dense", "weights"]
    features: int = 0


class Site(NamedTuple):
    """Where a block stands: everything its shapes and its cost depend on, beside its own options."""

    grid: tuple[int, int]
    width: int
    heads: int
    prefix: int = 0
    incoming: ScoreForm | None = None  # scores that the layers before hand on
    residual: ScoreForm | None = None  # scores of the stage before, brought to this grid (attention residual)

    @property
    def tokens(self) -> int:
        return self.prefix + self.grid[0] * self.grid[1]

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


class Cost(NamedTuple):
    """Multiply-accumulates of one image's inference (matrix products and convolutions alone), and parameters."""

    macs: int
    params: int

    def __add__(self, other: Cost) -> Cost:  # type: ignore[override]
        return Cost(self.macs + other.macs, self.params + other.params)


class Rows(NamedTuple):
    """A projection of tokens (q, k or v) of a trained layer: weight_CC, and bias_C if it has one."""

    weight_CC: Tensor
    bias_C: Tensor | None


@dataclass(frozen=True)
class Scores:
    """What a layer hands on of its attention scores A = scale · q kᵀ (or the matrix itself where that is cheaper).

    q_BHNE, k_BHNE: factors, any strides; matrix_BHNN: the scores, or with `softmaxed` the attention weights.
    reused: mapped from the scores of an earlier layer, which is what the diagonal loss looks for.
    """

    q_BHNE: Tensor | None = None
    k_BHNE: Tensor | None = None
    scale: float = 1.0
    matrix_BHNN: Tensor | None = None
    softmaxed: bool = False
    reused: bool = False

    def factors(self) -> tuple[Tensor, Tensor]:
        """(q_BHNE, k_BHNE) of scores that travel factored."""
        assert self.q_BHNE is not None and self.k_BHNE is not None
        return self.q_BHNE, self.k_BHNE

    def dense(self) -> Tensor:
        """(B, H, N, N): the pre-softmax scores, computed if they travel factored."""
        assert not self.softmaxed, "scores cannot be recovered from softmaxed weights"
        if self.matrix_BHNN is not None:
            return self.matrix_BHNN
        q_BHNE, k_BHNE = self.factors()
        return (q_BHNE * self.scale) @ k_BHNE.transpose(-2, -1)

    def weights(self) -> Tensor:
        """(B, H, N, N): row-softmaxed attention weights."""
        if self.softmaxed:
            assert self.matrix_BHNN is not None
            return self.matrix_BHNN
        return self.dense().softmax(-1)


@dataclass(frozen=True)
class Inputs:
    """What a layer gives its core. `projected` holds those of q, k, v that the core projects, as (B, N, H, D)."""

    x_BNC: Tensor
    projected: Mapping[str, Tensor]
    scores: Scores | None = None  # of the latest layer of this stage that made or mapped scores
    mixed_BNC: Tensor | None = None  # what the attention of the layer before answered, after its projection
    residual: Scores | None = None  # added to the scores of a stage's first layer

    @property
    def q_BNHD(self) -> Tensor:
        return self.projected["q"]

    @property
    def k_BNHD(self) -> Tensor:
        return self.projected["k"]

    @property
    def v_BNHD(self) -> Tensor:
        return self.projected["v"]

    def heads_first(self) -> tuple[Tensor, Tensor, Tensor]:
        """(q_BHND, k_BHND, v_BHND), as views."""
        return self.q_BNHD.transpose(1, 2), self.k_BNHD.transpose(1, 2), self.v_BNHD.transpose(1, 2)


class Block(nn.Module):
    """Common face of the three slots; subclass `Core`, `Auxiliary` or `Local`."""

    slot: ClassVar[Slot]
    name: ClassVar[str]
    Config: ClassVar[type[BlockConfig]]
    undecayed: ClassVar[tuple[str, ...]] = ()  # first parts of parameter names that weight decay would pull off course

    def take_over(self, rows: Mapping[str, Rows]) -> set[str]:
        """Initialise a new block that stands in a trained layer, so that the layer's answer changes least.

        rows: the projections of the core that it replaces, by letter. Returns the names of the block's own parameters
        that hold rows of them. Called without gradients, on a block fresh from its constructor (nas/model/inherit.py).
        By default the initial values stay.
        """
        return set()

    @classmethod
    def check(cls, config: Any, site: Site) -> None:
        """Raise GenomeError, with the option's name as path, if `config` makes no sense at `site`."""

    @classmethod
    def cost(cls, config: Any, site: Site) -> Cost:
        """MACs per image and parameters of the deployed block, projections excluded."""
        raise NotImplementedError


class Core(Block):
    """`forward(inputs) -> (y_BNHD, scores)`: token mixing, and what it hands on to the next layer of the stage."""

    slot = "core"
    needs: ClassVar[Literal["", "scores", "mixed"]] = ""  # of the layers before, in the same stage
    takes_residual: ClassVar[bool] = False  # adds an attention residual to its scores
    projects_out: ClassVar[bool] = True  # whether the layer merges heads with an output projection

    @classmethod
    def projects(cls, config: Any, site: Site) -> str:
        """Which of "qkv" the layer projects for this core, in that order."""
        return "qkv"

    @classmethod
    def outgoing(cls, config: Any, site: Site) -> ScoreForm | None:
        """The form of the scores handed on; by default q and k are projected, so they are handed on factored."""
        return ScoreForm("factored", site.head_dim)

    def held_rows(self) -> dict[str, Rows]:
        """The projections that the block holds itself, by letter; the layer holds the others."""
        return {}

    @classmethod
    def exact(cls, config: Any) -> bool:
        """Whether the weights of the scores handed on are the matrix that the layer applies to its values."""
        return False

    def normalise(self, y_BNHD: Tensor) -> Tensor:
        """Applied to core + auxiliary, before the local branch is added."""
        return y_BNHD


class Auxiliary(Block):
    """Training-time help: `forward(inputs) -> (y_BNHD, mass)` with the attention mass it still carries; no parameters.

    `set_progress(p)` moves its schedules to training progress p in [0, 1].
    """

    slot = "auxiliary"

    def set_progress(self, progress: float) -> None:
        raise NotImplementedError

    @classmethod
    def cost(cls, config: Any, site: Site) -> Cost:
        return Cost(0, 0)  # absent from the deployed graph


class Local(Block):
    """`forward(v_BNHD) -> y_BNHD`: a local residual on the values."""

    slot = "local"


BLOCKS: dict[Slot, Registry[type[Block]]] = {slot: Registry(f"{slot} block", "nas.blocks") for slot in get_args(Slot)}
B = TypeVar("B", bound=type[Block])


def block(name: str) -> Callable[[B], B]:
    """Register a block class under `name` in its slot. Raises SpecError if another block of the slot has it."""

    def register(cls: B) -> B:
        BLOCKS[cls.slot].add(name)(cls)
        cls.name = name
        return cls

    return register


def registered(slot: Slot) -> dict[str, Any]:
    """Block classes of a slot by name."""
    return dict(BLOCKS[slot].items())


@dataclass(frozen=True)
class _Written:
    """The JSON schema of a block of `slot`, worked out when it is asked for: plug-ins may have joined by then."""

    slot: Slot

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        if handler.mode == "serialization":  # not what one writes
            return handler(schema)
        blocks = registered(self.slot)
        written = Union[Literal[tuple(blocks)], *(cls.Config for cls in blocks.values())]  # type: ignore[valid-type]
        return handler(TypeAdapter(written).core_schema)  # type: ignore[arg-type]


def spec_of(slot: Slot) -> Any:
    """The pydantic type of a block of `slot` in a genome: `less` or `{block: less, transform: conv}`."""

    def validate(value: Any) -> BlockConfig:
        if isinstance(value, BlockConfig):
            value = value.model_dump()
        if isinstance(value, str):
            value = {"block": value}
        if not isinstance(value, dict) or not isinstance(value.get("block"), str):
            raise GenomeError(f"expected a {slot} block, as a name or a mapping with `block:`, found {shown(value)}")
        blocks = BLOCKS[slot]
        if value["block"] not in blocks:
            raise GenomeError(f"unknown {slot} block {shown(value['block'])}; {nearest(value['block'], blocks)}")
        fields = blocks[value["block"]].Config
        try:
            return fields.model_validate(value)
        except ValidationError as error:
            raise from_pydantic(error, fields, kind=GenomeError) from None

    def shorten(value: BlockConfig) -> Any:
        changed = value.model_dump(mode="json", exclude_defaults=True) | {"block": value.block}
        return value.block if len(changed) == 1 else {"block": value.block} | changed

    return Annotated[BlockConfig, PlainValidator(validate), _Written(slot), PlainSerializer(shorten)]


def unit(x: Tensor) -> Tensor:
    """x / ‖x‖ over the last axis; zero stays zero. The norm is taken in float32, where half precision overflows.

    The gradient of a zero vector is 10⁶ times the next one, which float16 cannot hold: there it is 0 (`inverse_norm`).
    """
    if is_float16(x):
        return (inverse_norm(x) * x).to(x.dtype)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.promote_types(x.dtype, torch.float32))
    unit_x: Tensor = x / norm.clamp_min(1e-6).to(x.dtype)
    return unit_x


def is_float16(x: Tensor) -> bool:
    """Whether x is float16. While torch.fx traces, its type is not known yet, and the graph is that of wider types."""
    return not isinstance(x, torch.fx.Proxy) and x.dtype == torch.float16


def inverse_norm(x: Tensor) -> Tensor:
    """1 / ‖x‖ over the last axis, float32 (..., 1), of a float16 tensor.

    Of a vector shorter than the smallest normal number of float16 it is 0, and so is its gradient: it has no direction.
    """
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    inverse: Tensor = norm.masked_fill(norm < torch.finfo(torch.float16).tiny, torch.inf).reciprocal()
    return inverse
