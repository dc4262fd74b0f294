"""`timm.create_model` for a preset, or for the genome of a folder: timm's arguments as edits, then timm's own builder.

| timm | genome |
|---|---|
| num_classes (0: no head) | classes |
| in_chans, img_size | image.channels, image.size |
| drop_path_rate | drop_path |
| drop_rate | none: dropout before the classifier |

The builder loads checkpoints (`pretrained_cfg_overlay={"file": ...}`), wraps the model for `features_only=True` and
stores the configuration for `timm.data`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, resolve_pretrained_cfg
from torch import nn

from nas.errors import SpecError
from nas.genome import Genome, load_genome
from nas.timm.face import TimmModel, square
from nas.timm.registry import ARCHITECTURE


def create(name: str, pretrained: bool = False, *, genome: dict[str, Any] | None = None, **kwargs: Any) -> nn.Module:
    """The preset `name` as timm's users expect it. Raises SpecError for pretrained weights, of which there are none.

    genome: of `nas_vit`, from the model_args of a folder, whose weights are loaded in any case (nas/timm/folder.py).

    >>> timm.create_model("lavit_t", features_only=True, out_indices=(1, 2, 3)).feature_info.channels()
    [128, 320, 512]
    """
    if (genome is not None) != (name == ARCHITECTURE):
        raise SpecError(f"model_args.genome belongs to {ARCHITECTURE}, the architecture of folders: local-dir:FOLDER")
    weights = resolve_pretrained_cfg(name, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay"))
    pretrained = pretrained or weights.source == "local-dir"
    if pretrained and not (weights.has_weights or weights.state_dict):
        raise SpecError(
            f"{name} comes without pretrained weights: train it, or name a checkpoint of your own with "
            "pretrained_cfg_overlay={'file': 'weights.safetensors'}"
        )
    base = load_genome(genome if genome is not None else name)
    stages = len(base.stages)
    taps = {"out_indices": tuple(range(stages)) if stages > 1 else 3, "feature_cls": "getter"}  # 3: the last three
    return build_model_with_cfg(partial(_model, base), name, pretrained, feature_cfg=taps, **kwargs)


def _model(
    base: Genome,
    *,
    num_classes: int,
    in_chans: int,
    img_size: int | Sequence[int],
    drop_path_rate: float | None = None,
    drop_rate: float = 0.0,
    global_pool: str | None = None,
) -> TimmModel:
    edits: dict[str, Any] = {"image.channels": in_chans, "image.size": square(img_size)}
    edits |= {"classes": num_classes} if num_classes else {}
    edits |= {"drop_path": drop_path_rate} if drop_path_rate is not None else {}
    model = TimmModel(base.edit(edits))
    model.head_drop.p = drop_rate
    if not num_classes or global_pool is not None:
        model.reset_classifier(num_classes, global_pool)
    return model
