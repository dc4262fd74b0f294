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
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypeVar, get_args

from pydantic import AfterValidator, ConfigDict
from torch import Tensor, nn

from nas.blocks.scores import ScoreForm, Scores
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
