"""What timm's training scripts, feature wrappers and detection code call on a model, mixed into `Model`.

Signatures and answers are timm's (checked against timm's own ViT and PVTv2 in the tests). A feature is what a stage
ends with; a model of one stage has a feature after each layer, as timm's plain ViTs do.

Another resolution (`set_input_size`) is another genome: the model is built anew at that size and the weights are
brought over, position tables and relative biases by bicubic interpolation. What is tied to its number of tokens (the
N×N maps of `less`) or does not divide the new grid is refused by name.

Legend: B batch, N tokens, C width, hw grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from timm.layers import resample_abs_pos_embed
from timm.models._features import feature_take_indices  # as timm's own models import it
from torch import Tensor, nn

from nas.blocks.relative import RelativeBias
from nas.errors import GenomeError, SpecError

if TYPE_CHECKING:
    from nas.genome import Genome
    from nas.model.pyramid import Model, Stage


class TimmFace(nn.Module):
    genome: Genome
    stages: nn.ModuleList
    norm: nn.Module
    head: nn.Module

    def _face(self, genome: Genome) -> None:
        """The attributes that timm reads; called once the modules are there."""
        self.num_classes, self.in_chans = genome.classes, genome.image.channels
        self.num_features = self.head_hidden_size = genome.layout[-1].width
        self.global_pool = "token" if genome.pool == "token" else "avg"
        self.feature_info = feature_info(genome)

    @property
    def by_layer(self) -> bool:
        """Whether features are those of layers (one stage) and not those of stages."""
        return len(self.genome.stages) == 1

    def forward_intermediates(
        self,
        images_BCHW: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps (B, C, h, w), or tokens (B, hw, C) with `output_fmt="NLC"`; prefix tokens are left out.

        indices: the last n features, those listed (negative from the end), or all.
        norm: apply the model's last norm where it fits, that is to the last stage, or to every layer of a single stage.
        Answers `(tokens_BNC, features)`, the tokens as `forward_features` has them, or the features alone.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise SpecError(f"features come as NCHW or NLC, found {output_fmt!r}")
        take, last = feature_take_indices(len(self.feature_info), indices)
        features, reached = [], -1
        x, scores = images_BCHW, None
        for index, stage in enumerate(self.stages):
            x, carry = stage.enter(stages_input(self.stages, index, x), scores)  # type: ignore[operator]
            ends = len(stage.layers) - 1  # type: ignore[arg-type]
            for number, layer in enumerate(stage.layers):  # type: ignore[arg-type]
                x, carry = stage.step(layer, x, carry, None)  # type: ignore[operator]
                x = stage.norm(x) if number == ends else x  # type: ignore[operator]
                if not self.by_layer and number < ends:
                    continue
                reached += 1
                if reached in take:
                    normed = norm and (self.by_layer or reached == len(self.feature_info) - 1)
                    features.append(_shaped(stage, self.norm(x) if normed else x, output_fmt))  # type: ignore[arg-type]
                if stop_early and reached == last:
                    break
            scores = carry.scores
            if stop_early and reached == last:
                break
        return features if intermediates_only else (self.norm(x), features)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove, in place, what the features at `indices` do not need. Answers the indices counted from the start."""
        take, last = feature_take_indices(len(self.feature_info), indices)
        cut = last < len(self.feature_info) - 1
        if self.by_layer:
            self.stages[0].layers = self.stages[0].layers[: last + 1]  # type: ignore[index]
        else:
            self.stages = self.stages[: last + 1]
            self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_norm or (cut and not self.by_layer):  # the last norm has the width of the last stage
            self.norm = nn.Identity()
        if prune_head or cut:
            self.reset_classifier(0, "")
        return take

    def get_classifier(self) -> nn.Module:
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A fresh head for `num_classes`; 0 takes the head away.

        global_pool: "" for tokens instead of one vector. Another kind of pooling is another genome (`pool:`).
        """
        own = "token" if self.genome.pool == "token" else "avg"
        if global_pool not in (None, "", own):
            raise SpecError(f"this model pools by {own!r}; for {global_pool!r} build a genome with another `pool`")
        if global_pool is not None:
            self.global_pool = global_pool
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
            stage.grad_checkpointing = enable  # type: ignore[assignment]

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns by which timm's layer-wise learning-rate decay sorts parameters, from the image to the head."""
        layer = r"^stages\.(\d+)\.layers\.(\d+)"
        fine = [(r"^stages\.(\d+)\.norm", (99998,)), (layer, None), (r"^stages\.(\d+)\.", (0,)), (r"^norm", (99999,))]
        return {
            "stem": r"^stages\.0\.(?:embed|token|position)",
            "blocks": [(r"^stages\.(\d+)", None), (r"^norm", (99999,))] if coarse else fine,
        }

    @torch.no_grad()
    def set_input_size(self, img_size: int | Sequence[int] | None = None) -> None:
        """Move the model, in place, to images of `img_size`×`img_size` pixels. Make optimisers afterwards.

        Raises GenomeError where a layer cannot take another resolution, and leaves the model as it was.

        >>> model = nas.build("pvt_v2_b0")
        >>> model.set_input_size(256)
        """
        from nas.model.pyramid import Model

        size = square(img_size) if img_size is not None else self.genome.image.size
        if size == self.genome.image.size:
            return
        moved = Model(self.genome.edit({"image.size": size}))
        like, old = next(self.parameters()), self.state_dict()
        stages = moved.stages[: len(self.stages)]
        for index, stage in enumerate(self.stages):
            stages[index].layers = stages[index].layers[: len(stage.layers)]  # type: ignore[index, arg-type]
        new = {f"stages.{name}": tensor for name, tensor in stages.state_dict().items()}
        if set(new) != {name for name in old if name.startswith("stages.")}:
            raise GenomeError("a deployed model keeps its resolution: move the model first, then deploy it")
        state = {name: self._resized(name, old[name], tensor, moved) for name, tensor in new.items()}
        stages.load_state_dict({name.removeprefix("stages."): tensor for name, tensor in state.items()})
        trained = {name: parameter.requires_grad for name, parameter in self.stages.named_parameters()}
        for name, parameter in stages.named_parameters():
            parameter.requires_grad_(trained[name])
        for before, after in zip(self.stages, stages, strict=True):
            after.grad_checkpointing = before.grad_checkpointing
        self.stages = stages.to(like.device, like.dtype).train(self.training)
        self.genome, self.feature_info = moved.genome, moved.feature_info

    def _resized(self, name: str, old: Tensor, new: Tensor, moved: Model) -> Tensor:
        if old.shape == new.shape:
            return old
        owner, _, leaf = name.rpartition(".")
        index = int(name.split(".")[1])
        before, after = self.genome.layout[index], moved.genome.layout[index]
        if leaf == "position":
            table_1NC = old.view(1, before.tokens, -1)
            table_1NC = resample_abs_pos_embed(table_1NC, [*after.grid], [*before.grid], before.prefix)
            return table_1NC.view_as(new)
        if isinstance(self.get_submodule(owner), RelativeBias):
            return _resized_table(old, new)
        layer = ".".join(name.split(".")[:4])
        block = next(plan.core.block for plan in before.layers if plan.name == layer)
        raise GenomeError(
            f"{block} is tied to {before.tokens} tokens by {name.removeprefix(layer + '.')} {tuple(old.shape)}, and "
            f"images of {moved.genome.image.size} pixels have {after.tokens} here; a block that any resolution fits is "
            "needed (of less: transform conv or identity)",
            path=layer,
        )


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
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise SpecError(f"images are square here, found {tuple(size)}", path="img_size")  # type: ignore[arg-type]
    return sides.pop()


def stages_input(stages: nn.ModuleList, index: int, x: Tensor) -> Tensor:
    """What stage `index` is fed: the image, or the tokens of the stage before as a feature map."""
    return x if index == 0 else stages[index - 1].image(x)  # type: ignore[operator]


def _shaped(stage: Stage, x_BNC: Tensor, output_fmt: str) -> Tensor:
    return stage.image(x_BNC).contiguous() if output_fmt == "NCHW" else x_BNC[:, stage.prefix :]


def _resized_table(old: Tensor, new: Tensor) -> Tensor:
    """A relative-bias table (entries, H) for another square grid; the entries of prefix tokens stay."""
    sides = [(math.isqrt(len(table)) - 1) | 1 for table in (old, new)]  # odd: 2h − 1
    grid_11HEE = old[: sides[0] ** 2].T.float().unflatten(1, (sides[0], sides[0]))[None]
    resized = F.interpolate(grid_11HEE, (sides[1], sides[1]), mode="bicubic", align_corners=True)[0].flatten(1).T
    return torch.cat((resized.to(old.dtype), old[sides[0] ** 2 :]))
