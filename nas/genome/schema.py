"""A genome: a vision transformer as data, with the losses and schedules that belong to its attention.

A genome contains the architecture (image, classes, stages of layers), the diagonal loss, and the decay schedules of
auxiliaries. The recipe and the dataset are not part of it: they are `training:` and `data:`. The genome of a trained
model also says how pixels reach it (`preprocess`) and what its classes are called (`class_names`).

A stage lists its layers in one of two ways; the second allows every layer to differ:
    depth: 6, split: 2                      the first 2 layers have `core` (softmax), the other 4 `tail` (less)
    layers: [softmax x 2, less x 4]         runs of layers; a run may be a mapping with core, auxiliary, local, repeat
Unknown keys, wrong names and invalid combinations are refused with their key path. Rules that concern several fields
are in layout.py.

    >>> genome = Genome.from_yaml(text)
    >>> genome.edit({"stages.1.split": 2, "loss.diagonal.variant": "hinge"}).to_yaml()
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema

from nas.blocks import BlockConfig, spec_of
from nas.data.preprocess import MAX_SIDE, Preprocess
from nas.errors import GenomeError, from_pydantic
from nas.genome.edit import edited, parse_run
from nas.genome.hash import hash_of
from nas.genome.layout import Layout, layout_of
from nas.keys import Keys
from nas.plain_yaml import dump_yaml, parse_yaml, read_yaml

if TYPE_CHECKING:
    CoreSpec: TypeAlias = BlockConfig
    AuxiliarySpec: TypeAlias = BlockConfig
    LocalSpec: TypeAlias = BlockConfig
else:
    CoreSpec, AuxiliarySpec, LocalSpec = spec_of("core"), spec_of("auxiliary"), spec_of("local")


# Far above any model that trains; a slip of the keyboard is refused before its layers are laid out.
MAX_DEPTH = 1000
MAX_WIDTH = 65_536


class _Part(Keys):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Image(_Part):
    """The input: square images of `size`×`size` pixels."""

    size: int = Field(224, ge=1, le=MAX_SIDE, description="side in pixels")
    channels: int = Field(3, ge=1, le=1024, description="3 for RGB, 1 for grey")


class Run(_Part):
    """`repeat` equal layers: `softmax x 2`, or a mapping if a layer has more than a core."""

    core: CoreSpec = Field(
        "softmax",
        validate_default=True,
        description="block that mixes the tokens; a name, or a mapping with its options",
    )
    auxiliary: AuxiliarySpec | None = Field(None, description="block that helps in training and is gone at deployment")
    local: LocalSpec | None = Field(None, description="block added to the output: a convolution over the values")
    repeat: int = Field(1, ge=1, le=MAX_DEPTH, description="number of equal layers")

    @model_validator(mode="before")
    @classmethod
    def _shorthand(cls, value: Any) -> Any:
        return parse_run(value) if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        full = handler(schema)
        return full if handler.mode == "serialization" else {"anyOf": [{"type": "string"}, full]}

    @model_serializer(mode="wrap")
    def _shorten(self, handler: Any) -> Any:
        full = {key: value for key, value in handler(self).items() if value is not None}
        if set(full) <= {"core", "repeat"} and isinstance(full["core"], str):
            return full["core"] if self.repeat == 1 else f"{full['core']} x {self.repeat}"
        return full if self.repeat > 1 else {key: value for key, value in full.items() if key != "repeat"}


def _or_text(schema: dict[str, Any]) -> None:
    """`layers: softmax x 2, less x 4` is valid as well."""
    schema["anyOf"].append({"type": "string"})


class StageSpec(_Part, title="Stage"):
    """Layers at one resolution, after a patch-embedding convolution (stride `patch`, kernel `kernel` or `patch`)."""

    patch: int = Field(ge=1, le=MAX_SIDE, description="stride of the patch embedding at the start of the stage")
    kernel: int | None = Field(
        None, ge=1, le=MAX_SIDE, description="of the patch embedding; larger than patch: overlapping, padded"
    )
    width: int = Field(ge=1, le=MAX_WIDTH, description="channels C of a token")
    heads: int = Field(ge=1, le=MAX_WIDTH, description="attention heads; divides the width")
    mlp_ratio: float = Field(4.0, gt=0, le=1024, description="hidden width of the MLP over the width")
    mlp: Literal["plain", "depthwise", "relu_depthwise", "swiglu"] = Field(
        "plain",
        description="depthwise: a 3×3 convolution inside (PVTv2); relu_depthwise: with a ReLU before it (PVTv2-Li); "
        "swiglu: a gated hidden layer",
    )
    attention_residual: Literal["none", "flat", "separable"] = Field(
        "none", description="LaViT: scores of the stage before, added to those of this stage's first layer"
    )
    depth: int | None = Field(None, ge=1, le=MAX_DEPTH, description="number of layers, with `split`, `core` and `tail`")
    split: int | None = Field(
        None, ge=0, le=MAX_DEPTH, description="number of first layers that have `core`; the others have `tail`"
    )
    core: CoreSpec | None = Field(None, description="of the first layers; null: softmax")
    tail: CoreSpec | None = Field(None, description="core of the layers after `split`; null: less")
    auxiliary: AuxiliarySpec | None = Field(
        None, description="of all layers; helps in training and is gone at deployment"
    )
    local: LocalSpec | None = Field(None, description="of all layers; a convolution over the values")
    layers: tuple[Run, ...] | None = Field(
        None,
        min_length=1,
        description="runs of layers, one by one, in place of depth, split, core, tail, auxiliary and local",
        json_schema_extra=_or_text,
    )

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("layers"), str):
            return value | {"layers": value["layers"].split(",")}
        return value

    @model_validator(mode="after")
    def _one_way(self) -> StageSpec:
        short = [
            key for key in ("depth", "split", "core", "tail", "auxiliary", "local") if getattr(self, key) is not None
        ]
        if self.layers is not None and short:
            raise GenomeError(f"`layers` lists every layer: remove it or `{short[0]}`", path=short[0])
        if self.layers is None and self.depth is None:
            raise GenomeError("give the layers, as `layers: [softmax x 2, less x 4]` or as `depth: 6, split: 2`")
        if self.tail is not None and self.split is None:
            raise GenomeError("`tail` is the core of the layers after `split`: give `split`", path="tail")
        if self.depth is not None and self.split is not None and self.split > self.depth:
            raise GenomeError(f"split {self.split} is more than depth {self.depth}", path="split")
        if self.layers is not None and sum(run.repeat for run in self.layers) > MAX_DEPTH:
            raise GenomeError(f"a stage has at most {MAX_DEPTH} layers", path="layers")
        return self

    def runs(self) -> list[tuple[str, Run]]:
        """The runs of layers, each with the key path of its core below the stage."""
        if self.layers is not None:
            return [(f"layers.{i}", run) for i, run in enumerate(self.layers)]
        assert self.depth is not None
        first = self.depth if self.split is None else self.split
        parts = [("core", self.core or "softmax", first), ("tail", self.tail or "less", self.depth - first)]
        shared = {"auxiliary": self.auxiliary, "local": self.local}
        return [(key, Run(core=core, repeat=count, **shared)) for key, core, count in parts if count]


class Rotary(_Part):
    """Queries and keys are rotated by their place on the grid, as DINOv3 does it (nas/model/rotary.py)."""

    temperature: float = Field(100.0, gt=1, description="the longest period; 2 is the grid's side")


class Diagonal(_Part):
    """LaViT's diagonality-preserving loss on every `less` layer (see nas/train/diagonal.py for the variants)."""

    variant: Literal["off", "printed", "flipped", "hinge", "frobenius"] = Field(
        "off", description="off, as printed, or a form that rewards the diagonal"
    )
    weight: float = Field(0.01, ge=0, description="factor of the term in the loss")
    matrix: Literal["scores", "weights"] = Field("weights", description="pre-softmax scores or row-softmaxed weights")

    @property
    def active(self) -> bool:
        return self.variant != "off" and self.weight > 0


class Loss(_Part):
    """Terms added to the cross-entropy."""

    diagonal: Diagonal = Field(Diagonal(), description="of LaViT, on `less` layers")


class Genome(_Part):
    """A model as data: see the head of this file. Equal genomes build equal models; `hash` identifies them."""

    name: str = Field("", description="in tables; does not count in the hash")
    notes: str = Field("", description="free text; does not count in the hash")
    image: Image = Field(Image(), description="of the input")
    classes: int = Field(1000, ge=1, le=1_000_000, description="outputs of the head")
    stages: tuple[StageSpec, ...] = Field(
        min_length=1, max_length=64, description="from the image on, each at a coarser resolution"
    )
    position: Literal["absolute", "grid", "none"] = Field(
        "absolute", description="learned, added at the start of each stage; grid: to patch tokens alone (DeiT III)"
    )
    rotary: Rotary | None = Field(None, description="positions by rotation of queries and keys, beside `position`")
    pool: Literal["mean", "token", "patches"] = Field(
        "mean",
        description="token: a class token that enters in the last stage; patches: the mean of patches beside one",
    )
    registers: int = Field(0, ge=0, le=1024, description="register tokens behind the class token, in the last stage")
    stem: Literal["patch", "conv"] = Field(
        "patch", description="conv: the first embedding as stride-2 3×3 convolutions"
    )
    embed_norm: bool = Field(False, description="a norm after each patch embedding (PVT)")
    merging: Literal["plain", "normed"] = Field(
        "plain",
        description="between stages; normed: patches are normed before their projection, which has no bias (Swin)",
    )
    embed_bias: bool = Field(True, description="of patch embeddings; CLIP has none")
    norm_pre: bool = Field(False, description="a norm before the first layer of each stage (CLIP)")
    stage_norm: bool = Field(False, description="a norm at the end of each stage, not only of the last (PVTv2)")
    last_norm: Literal["tokens", "pooled"] = Field("tokens", description="pooled: of the pooled vector, not of tokens")
    norm_eps: float = Field(1e-6, gt=0, le=1, description="of all norms but those of patch embeddings and blocks")
    qkv_bias: bool = Field(True, description="of the projections to q, k and v")
    qk_norm: bool = Field(False, description="a norm of each head's queries and keys")
    layer_scale: float | None = Field(None, gt=0, description="initial value; null for none")
    drop_path: float = Field(0.0, ge=0, lt=1, description="of the last layer; increases linearly with depth")
    loss: Loss = Field(Loss(), description="terms that belong to the attention")
    preprocess: Preprocess | None = Field(None, description="how pixels reach the trained model")
    class_names: tuple[str, ...] | None = Field(None, description="of the trained model's classes, in order")

    @model_validator(mode="after")
    def _served(self) -> Genome:
        if self.preprocess is not None and len(self.preprocess.mean) != self.image.channels:
            found = f"values for {len(self.preprocess.mean)} channels"
            raise GenomeError(
                f"expected values for image.channels {self.image.channels}, found {found}", path="preprocess"
            )
        if self.class_names is not None and len(self.class_names) != self.classes:
            raise GenomeError(f"expected {self.classes} names, found {len(self.class_names)}", path="class_names")
        return self

    @model_validator(mode="after")
    def _laid_out(self) -> Genome:
        self.layout  # noqa: B018  (computing the layout checks the rules between fields)
        return self

    @cached_property
    def layout(self) -> Layout:
        """Every stage and layer, with grids and widths computed (nas/genome/layout.py)."""
        return layout_of(self)

    @cached_property
    def hash(self) -> str:
        """12 hex digits over everything that affects training (nas/genome/hash.py)."""
        return hash_of(self)

    @classmethod
    def parse(cls, data: Any, *, file: object = None) -> Genome:
        """Validate plain data. Raises GenomeError with file and key path."""
        if not isinstance(data, dict):
            raise GenomeError(f"a genome is a mapping with `stages:`, found {type(data).__name__}", file=file)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise from_pydantic(error, cls, kind=GenomeError, file=file) from None

    @classmethod
    def from_yaml(cls, text: str) -> Genome:
        return cls.parse(parse_yaml(text))

    @classmethod
    def from_file(cls, path: Path) -> Genome:
        return cls.parse(read_yaml(path), file=path)

    def to_yaml(self) -> str:
        """The shortest equivalent YAML; reading it back gives an equal genome."""
        return dump_yaml(self.model_dump(mode="json", exclude_defaults=True))

    def edit(self, changes: dict[str, Any]) -> Genome:
        """A copy with values set at dotted paths (`stages.1.split`, `stages.*.local.kernel`).

        Shorter paths are set first: `stages.0.core` chooses a block, `stages.0.core.rank` then sets its option.
        Another number of classes drops `class_names`, and another number of channels `preprocess`, unless they are set
        too. Raises GenomeError with the key path.
        """
        before = self.model_dump(mode="json")
        after = edited(before, changes)
        if after["classes"] != self.classes and after["class_names"] == before["class_names"]:
            after["class_names"] = None
        channels = after["image"].get("channels") if isinstance(after["image"], dict) else None
        if channels != self.image.channels and after["preprocess"] == before["preprocess"]:
            after["preprocess"] = None
        return self.parse(after)
