"""`nas.to_timm`: a model whose genome is one of timm's, as timm's own class, with weights under timm's names.

The way back from `from_timm`, for a model that was fine-tuned here. timm's model is made by `timm.create_model`: of the
architecture that the genome is named after, or else of a plain one with every size given, so that timm can save it
(`save_for_hf`) and make it again. What timm then has is read as a genome (convert.py) and compared with ours; a key
that differs has no counterpart there, and is refused by its path. So are logits that differ.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import timm
import torch
from torch import Tensor, nn

from nas.errors import GenomeError, SpecError
from nas.genome import Genome
from nas.model import Model
from nas.timm.convert import check, genome_of, tensors_of
from nas.timm.names import NOTHING, counterparts
from nas.torch_state import generators_kept

UNCOMPARED = {"name", "notes", "stages", "drop_path", "loss", "preprocess", "class_names"}


@generators_kept()
def to_timm(model: Model) -> nn.Module:
    """A timm model with this model's weights, device, mode and logits (float32: to 1e-5).

    How pixels reach it and the names of its classes are in its `pretrained_cfg`. Raises SpecError for a genome that is
    none of timm's, with the key path of the part that has no counterpart there.

    >>> timm.models.save_for_hf(nas.to_timm(model), "folder")
    """
    state = model.state_dict()
    name, args = _architecture(model, state)
    like = next(model.parameters())
    overlay = _cfg(model.genome)
    theirs: nn.Module = timm.create_model(name, pretrained_cfg_overlay=overlay, **args).to(like.device, like.dtype)
    _fill(theirs, state)
    if like.device.type != "meta":
        check(theirs, model)
    return theirs.train(model.training)


def _architecture(model: Model, state: dict[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """The architecture and arguments of `create_model` whose genome is this model's."""
    genome, differing = model.genome, ""
    for name in _names(genome):
        args = _arguments(name, model, state)
        try:
            with torch.device("meta"):
                made = genome_of(timm.create_model(name, pretrained_cfg_overlay=_cfg(genome), **args))
        except (TypeError, AssertionError, SpecError):  # another kind of model has the genome's name
            continue
        differing = _difference(genome, made)
        if not differing:
            return name, args
    path, _, value = differing.partition(" ")
    raise GenomeError(f"{value} has no counterpart in timm", path=path)


def _names(genome: Genome) -> Iterator[str]:
    if timm.is_model(genome.name) and timm.model_entrypoint(genome.name).__module__.startswith("timm."):
        yield genome.name
    if len(genome.stages) > 1:
        yield "swin_tiny_patch4_window7_224" if _windows(genome) else "pvt_v2_b0"
    elif genome.rotary is not None:
        yield "vit_base_patch16_dinov3"
    elif genome.stages[0].mlp == "swiglu":
        yield "vit_giant_patch14_dinov2"
    else:  # CLIP's norms have the larger epsilon
        yield "vit_base_patch16_clip_224" if genome.norm_eps == 1e-5 else "vit_base_patch16_224"


def _arguments(name: str, model: Model, state: dict[str, Tensor]) -> dict[str, Any]:
    genome, first = model.genome, model.genome.layout[0]
    pool = getattr(model, "global_pool", "token" if genome.pool == "token" else "avg")
    args: dict[str, Any] = {
        "num_classes": model.head.out_features if isinstance(model.head, nn.Linear) else 0,
        "in_chans": genome.image.channels,
        "global_pool": pool,
        "drop_rate": float(getattr(getattr(model, "head_drop", None), "p", 0.0)),
        "drop_path_rate": genome.drop_path,
        "qkv_bias": genome.qkv_bias,
    }
    if len(genome.stages) > 1:
        return args | _pyramid(genome)
    gated, is_eva = genome.stages[0].mlp == "swiglu", timm.model_entrypoint(name).__module__.endswith(".eva")
    args |= {
        "img_size": genome.image.size,
        "patch_size": first.stride,
        "embed_dim": first.width,
        "depth": len(first.layers),
        "num_heads": first.layers[0].site.heads,
        "mlp_ratio": genome.stages[0].mlp_ratio * (2 if gated and not is_eva else 1),
        "qk_norm": genome.qk_norm,
        "init_values": genome.layer_scale,
        "class_token": genome.pool != "mean",
        "no_embed_class": genome.position == "grid",
    }
    pooled = genome.last_norm == "pooled"
    if not is_eva:
        position = "none" if genome.position == "none" else "learn"
        return args | {
            "reg_tokens": genome.registers, "pos_embed": position, "pre_norm": genome.norm_pre, "fc_norm": pooled
        }  # fmt: skip
    args |= {
        "num_reg_tokens": genome.registers,
        "use_abs_pos_emb": genome.position != "none",
        "use_pre_transformer_norm": genome.norm_pre,
        "use_fc_norm": pooled,
        "use_post_transformer_norm": not pooled,
        "swiglu_mlp": gated,
        "use_rot_pos_emb": genome.rotary is not None,
        "rope_temperature": genome.rotary.temperature if genome.rotary else 100.0,
    }
    # Eva's own attention has no bias of keys among its weights.
    keys = [bias.chunk(3)[1] for key, bias in state.items() if key.endswith("attention.qkv.bias")]
    biased = any(bias.device.type != "meta" and bool(bias.any()) for bias in keys)
    return args | ({"attn_type": "rope"} if biased else {})


def _pyramid(genome: Genome) -> dict[str, Any]:
    cores: list[Any] = [stage.layers[0].core for stage in genome.layout]
    args: dict[str, Any] = {
        "depths": tuple(len(stage.layers) for stage in genome.layout),
        "num_heads": tuple(stage.layers[0].site.heads for stage in genome.layout),
    }
    ratios = tuple(stage.mlp_ratio for stage in genome.stages)
    if sizes := _windows(genome):
        own: dict[str, Any] = {
            "window_size": sizes[0] if len(set(sizes)) == 1 else tuple((size, size) for size in sizes)
        }
        own |= {"img_size": genome.image.size, "patch_size": genome.stages[0].patch, "mlp_ratio": ratios}
        return args | own | {"embed_dim": genome.stages[0].width}
    return args | {
        "embed_dims": tuple(stage.width for stage in genome.layout),
        "mlp_ratios": ratios,
        "sr_ratios": tuple(getattr(core, "ratio", 1) for core in cores),
        "linear": any(getattr(core, "pooled", None) for core in cores),
    }


def _windows(genome: Genome) -> list[int]:
    """The sides of each stage's windows, where the first layer of every stage has some."""
    cores: list[Any] = [stage.layers[0].core for stage in genome.layout]
    return [core.size for core in cores] if all(core.block == "window" for core in cores) else []


def _cfg(genome: Genome) -> dict[str, Any]:
    size, pixels = genome.image.size, genome.preprocess
    cfg: dict[str, Any] = {"input_size": (genome.image.channels, size, size), "num_classes": genome.classes}
    if pixels is not None:
        cfg |= {"mean": pixels.mean, "std": pixels.std, "crop_pct": pixels.crop, "interpolation": pixels.interpolation}
    return cfg | ({"label_names": list(genome.class_names)} if genome.class_names else {})


def _difference(ours: Genome, theirs: Genome) -> str:
    """`path value` of the first part of our genome that differs; empty if they are one architecture."""
    mine, other = (genome.model_dump(exclude=UNCOMPARED) for genome in (ours, theirs))
    if not ours.layout[-1].prefix and ours.position == "grid":
        mine["position"] = "absolute"  # the same where no token is before the grid
    for key, value in mine.items():
        if key != "classes" and value != other[key]:
            return f"{key} {value}"
    for stage, same in zip(ours.layout, theirs.layout, strict=False):
        for layer, twin in zip(stage.layers, same.layers, strict=False):
            for slot in ("core", "auxiliary", "local"):
                if (found := getattr(layer, slot)) != getattr(twin, slot):
                    return f"{layer.name}.{slot} {found.block}"
        for key in ("stride", "kernel", "width", "mlp", "attention_residual"):
            if (found := getattr(stage, key)) != getattr(same, key):
                return f"{stage.name}.{'patch' if key == 'stride' else key} {found}"
    return "" if ours.layout == theirs.layout else "stages " + "a layout of these stages"


@torch.no_grad()
def _fill(theirs: nn.Module, state: dict[str, Tensor]) -> None:
    """Copy our tensors into timm's model; raises SpecError if one of either side is left over."""
    targets, saved = tensors_of(theirs), theirs.state_dict()
    table = counterparts(state, targets)
    filled = set()
    for name, names in table.items():
        sizes = [len(targets[part or names[0]]) for part in names]
        for part, tensor in zip(names, state[name].split(sizes), strict=True):
            if part != NOTHING:
                if part not in saved and tensor.device.type != "meta" and not torch.equal(targets[part], tensor):
                    warnings.warn(f"timm does not save {part}, which is not the usual one here", stacklevel=3)
                targets[part].copy_(tensor)
                filled.add(part)
    rest = [name for name in state if name not in table] + [name for name in saved if name not in filled]
    if rest:
        raise SpecError(f"no counterpart for {rest[0]}: a deployed or pruned model does not go back to timm")
