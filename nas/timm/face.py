"""A model with timm's interface: the methods that timm's training scripts, feature wrappers and detection code call.

Signatures and results are timm's; the tests compare them with its ViT and PVTv2. Features are the outputs of stages; a
model of one stage has a feature after each layer, as timm's plain ViTs do.

Legend: B batch, N tokens, C width, hw grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from nas.errors import SpecError
from nas.genome import Genome
from nas.model.build import build as build_model
from nas.model.pyramid import Model, Stage
from nas.timm.resolution import stages_at
from nas.torch_state import generators_kept


class TimmModel(Model):
    """A `Model` with the attributes and methods that timm expects of its own.

    >>> nas.build("lavit_t").forward_intermediates(images_BCHW, indices=3, intermediates_only=True)
    """

    def __init__(self, genome: Genome):
        super().__init__(genome)
        self.head_drop = nn.Dropout(0.0)
        self.num_classes, self.in_chans = genome.classes, genome.image.channels
        self.num_features = self.head_hidden_size = genome.layout[-1].width
        self.global_pool = self.pooling(genome)
        self.feature_info = feature_info(genome)

    @staticmethod
    def pooling(genome: Genome) -> str:
        """timm's word for the genome's pool."""
        return "token" if genome.pool == "token" else "avg"

    @property
    def by_layer(self) -> bool:
        """Whether features are those of layers (one stage) and not those of stages."""
        return len(self.genome.stages) == 1

    def forward_head(self, x_BNC: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, K) from the tokens of `forward_features`; with `pre_logits` the input of the classifier."""
        x = self.head_drop(self.head_norm(self.pool(x_BNC) if self.global_pool else x_BNC))
        y: Tensor = x if pre_logits else self.head(x)
        return y

    def forward_intermediates(
        self,
        images_BCHW: Tensor,
        indices: int | list[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        output_dict: bool = False,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> list[Any] | tuple[Tensor, list[Any]] | dict[str, Any]:
        """Feature maps (B, C, h, w), or tokens (B, hw, C) with `output_fmt="NLC"`; prefix tokens are left out.

        indices: the last n features, those listed (negative from the end), or all.
        return_prefix_tokens: in a model that has some, pairs of a feature and its prefix tokens (B, P, C).
        norm: apply the model's last norm where it fits, that is to the last stage, or to every layer of a single stage.
            Stages that end in a norm of their own (`stage_norm`) have it in any case, the last one too.
        stop_early: compute no layers behind the last feature.
        attn_mask, is_causal: refused, since most cores have no matrix that could be masked.
        Returns `(tokens_BNC, features)`, tokens of the last layer that ran, as from `forward_features` if that is the
        last of all; or only the features; or with `output_dict` timm's `image_features`, `image_intermediates` and
        `image_intermediates_prefix`.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise SpecError(f"features come as NCHW or NLC, found {output_fmt!r}")
        if attn_mask is not None or is_causal:
            raise SpecError("attn_mask and is_causal are not supported: most cores have no matrix that could be masked")
        take, last = _taken(self.feature_info, indices)
        features, prefixes = [], []
        for reached, (stage, x) in enumerate(self._features(images_BCHW)):
            closing = not self.by_layer and reached == len(self.feature_info) - 1
            if reached in take:
                normed = norm or (closing and self.genome.stage_norm)
                feature = self.norm(x) if normed and (self.by_layer or closing) else x
                features.append(_shaped(stage, feature, output_fmt))
                prefixes.append(feature[:, : stage.prefix])
            if stop_early and reached == last:
                break
        # The norm of another stage is of another width.
        tokens_BNC = self.norm(x) if not intermediates_only and (self.by_layer or closing) else x
        has_prefix = return_prefix_tokens and self.stages[-1].prefix > 0
        if output_dict:
            found = {} if intermediates_only else {"image_features": tokens_BNC}
            extra = {"image_intermediates_prefix": prefixes} if has_prefix else {}
            return found | {"image_intermediates": features} | extra
        paired = list(zip(features, prefixes, strict=True)) if has_prefix else features
        return paired if intermediates_only else (tokens_BNC, paired)

    def get_intermediate_layers(
        self,
        images_BCHW: Tensor,
        n: int | list[int] = 1,
        reshape: bool = False,
        return_prefix_tokens: bool = False,
        norm: bool = False,
    ) -> list[Any]:
        """Features as DINO's scripts ask for them: tokens (B, hw, C), or maps with `reshape`."""
        found = self.forward_intermediates(
            images_BCHW,
            n,
            return_prefix_tokens=return_prefix_tokens,
            norm=norm,
            output_fmt="NCHW" if reshape else "NLC",
            intermediates_only=True,
        )
        return cast(list[Any], found)

    def _features(self, images_BCHW: Tensor) -> Iterator[tuple[Stage, Tensor]]:
        """Each feature's stage and tokens, before the model's last norm; computed as they are asked for."""
        x, scores = images_BCHW, None
        for index, stage in enumerate(self.stages):
            x, carry = stage.enter(self.stage_input(index, x), scores)
            ends = len(stage.layers) - 1
            for number, layer in enumerate(stage.layers):
                x, carry = stage.step(layer, x, carry, None)
                x = stage.norm(x) if number == ends else x
                if self.by_layer or number == ends:
                    yield stage, x
            scores = carry.scores

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove, in place, what the features at `indices` do not need. Returns the indices counted from the start."""
        take, last = _taken(self.feature_info, indices)
        cut = last < len(self.feature_info) - 1
        if self.by_layer:
            self.stages[0].layers = self.stages[0].layers[: last + 1]
        else:
            self.stages = self.stages[: last + 1]
            self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_norm or (cut and not self.by_layer):  # the last norm has the width of the last stage
            self.norm = nn.Identity()
        if prune_head or cut:
            self.head_norm = nn.Identity()
            self.reset_classifier(0, "")
        return take

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head for `num_classes`; 0 takes the head away.

        global_pool: "token", "avg" (of patch tokens), or "" for tokens instead of one vector. A model without a class
        token pools by "avg" alone.
        """
        own = ("avg",) if self.genome.pool == "mean" else ("token", "avg")
        if global_pool not in (None, "", *own):
            raise SpecError(
                f"this model pools by {' or '.join(own)}; for {global_pool!r} build a genome with another `pool`"
            )
        if global_pool is not None:
            self.global_pool = global_pool
        if global_pool and self.genome.pool != "mean":
            self.genome = self.genome.edit({"pool": "token" if global_pool == "token" else "patches"})
        self.num_classes = num_classes
        like = next(self.parameters())
        if num_classes:
            self.genome = self.genome.edit({"classes": num_classes})
            head = nn.Linear(self.num_features, num_classes, device=like.device, dtype=like.dtype)
            nn.init.trunc_normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)
            self.head = head.train(self.training)
        else:
            self.head = nn.Identity()

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep no activations inside layers while training: less memory for one more forward pass."""
        for stage in self.stages:
            stage.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns by which timm's layer-wise learning-rate decay sorts parameters, from the image to the head."""
        layer = r"^stages\.(\d+)\.layers\.(\d+)"
        fine = [
            (r"^stages\.(\d+)\.norm", (99998,)),
            (layer, None),
            (r"^stages\.(\d+)\.", (0,)),
            (r"^(?:head_)?norm", (99999,)),
        ]
        return {
            "stem": r"^stages\.0\.(?:embed|token|registers|position|norm_pre)",
            "blocks": [(r"^stages\.(\d+)", None), (r"^(?:head_)?norm", (99999,))] if coarse else fine,
        }

    def set_input_size(self, img_size: int | Sequence[int] | None = None) -> None:
        """Move the model, in place, to images of `img_size`×`img_size` pixels. Make optimisers afterwards.

        Raises GenomeError where a layer cannot take another resolution, and leaves the model as it was.

        >>> model = nas.build("pvt_v2_b0")
        >>> model.set_input_size(256)
        """
        size = square(img_size) if img_size is not None else self.genome.image.size
        if size == self.genome.image.size:
            return
        genome = self.genome.edit({"image.size": size})
        self.stages = stages_at(genome, self)
        self.genome, self.feature_info = genome, feature_info(genome)


def build(
    genome: str | Path | dict[str, Any] | Genome,
    weights: str | Path | bool | None = None,
    num_classes: int | None = None,
) -> TimmModel:
    """`nas.build`: the model that a genome describes, with timm's interface; in training mode.

    genome: preset name, YAML path (a run's `winners/<name>.yaml`, for instance), mapping, or Genome.
    weights: a safetensors file; True takes the one beside the YAML file. None: new weights from torch's RNG.
    num_classes: another number of classes; with weights, the head is then initialised anew.
    Raises GenomeError for a bad genome, missing weights, or weights of another genome.

    >>> model = nas.build("deit_tiny", num_classes=10)
    >>> model(torch.zeros(1, 3, 224, 224)).shape
    torch.Size([1, 10])
    """
    with generators_kept() if weights else nullcontext():
        return cast(TimmModel, build_model(genome, weights, num_classes, model_class=TimmModel))


def feature_info(genome: Genome) -> list[dict[str, Any]]:
    """timm's description of each feature: channels, stride to the image, module."""
    infos = []
    for stage in genome.layout:
        names = [plan.name for plan in stage.layers] if len(genome.stages) == 1 else [stage.name]
        reduction = genome.image.size // stage.grid[0]
        infos += [{"num_chs": stage.width, "reduction": reduction, "module": name} for name in names]
    return infos


def square(size: int | Sequence[int]) -> int:
    """The side of a square image given as a number or as (height, width)."""
    if isinstance(size, int):
        return size
    if len(set(size)) != 1:
        raise SpecError(f"images are square here, found {tuple(size)}", path="img_size")
    return size[0]


def _taken(features: Sequence[Any], indices: int | list[int] | None) -> tuple[list[int], int]:
    """Which features are asked for, and the last of them."""
    from timm.models._features import feature_take_indices  # slow; a model that is only built does without timm

    taken: tuple[list[int], int] = feature_take_indices(len(features), indices)
    return taken


def _shaped(stage: Stage, x_BNC: Tensor, output_fmt: str) -> Tensor:
    return stage.image(x_BNC).contiguous() if output_fmt == "NCHW" else x_BNC[:, stage.prefix :]
