"""`nas.from_timm`: a timm model and its weights as a model of this package with the same logits.

Plain ViTs and DeiTs (timm's `VisionTransformer`: vit_*_patch*_*, deit_*_patch16_224; layer scale too) and PVTv2 with
spatial reduction (pvt_v2_b0 … b5). Weights are copied by name, i, j counting stages and layers:

| timm ViT | here | timm PVTv2 | here |
|---|---|---|---|
| patch_embed.proj | stages.0.embed.proj | patch_embed.{proj, norm} | stages.0.embed.{proj, norm} |
| cls_token, pos_embed | stages.0.{token, position} | stages.i.downsample.{proj, norm} | stages.i.embed.{proj, norm} |
| blocks.j.norm{1,2} | stages.0.layers.j.norm{1,2} | stages.i.blocks.j.norm{1,2} | stages.i.layers.j.norm{1,2} |
| blocks.j.attn.{qkv, proj} | ….attention.{qkv, proj} | ….attn.{q, proj} | ….attention.{qkv, proj} |
| blocks.j.mlp.fc{1,2} | ….mlp.fc{1,2} | ….attn.{kv, sr, norm} | ….attention.core.{kv, sr, norm} |
| blocks.j.ls{1,2}.gamma | ….scale{1,2}.gamma | ….mlp.{fc1, dwconv, fc2} | ….mlp.{fc1, conv, fc2} |
| norm, head | norm, head | stages.i.norm, the last; head | stages.i.norm, norm; head |

A PVTv2 stage without reduction (the last) is plain softmax here: q and kv become one qkv, [q; kv]. A weight without a
counterpart is refused by name. So is a model whose logits differ after conversion, which reveals differences without
weights (an activation, another epsilon).
"""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from timm.models.pvt_v2 import PyramidVisionTransformerV2
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from nas.errors import SpecError
from nas.genome import Genome
from nas.timm.face import TimmModel

_LAYER = [
    (r"norm([12])\.", r"norm\1."),
    (r"attn\.(qkv|proj)\.", r"attention.\1."),
    (r"attn\.q\.", "attention.qkv."),
    (r"attn\.(kv|sr|norm)\.", r"attention.core.\1."),
    (r"mlp\.fc([12])\.", r"mlp.fc\1."),
    (r"mlp\.dwconv\.", "mlp.conv."),
    (r"ls([12])\.gamma$", r"scale\1.gamma"),
]
_VIT = [
    (r"patch_embed\.proj\.", "stages.0.embed.proj."),
    (r"cls_token$", "stages.0.token"),
    (r"pos_embed$", "stages.0.position"),
    *((r"blocks\.(\d+)\." + old, r"stages.0.layers.\1." + new.replace(r"\1", r"\2")) for old, new in _LAYER),
    (r"(norm|head)\.", r"\1."),
]
_PVT = [
    (r"patch_embed\.(proj|norm)\.", r"stages.0.embed.\1."),
    (r"stages\.(\d+)\.downsample\.(proj|norm)\.", r"stages.\1.embed.\2."),
    *(
        (r"stages\.(\d+)\.blocks\.(\d+)\." + old, r"stages.\1.layers.\2." + new.replace(r"\1", r"\3"))
        for old, new in _LAYER
    ),
    (r"stages\.(\d+)\.norm\.", r"stages.\1.norm."),
    (r"head\.", "head."),
]


def from_timm(timm_model: nn.Module) -> TimmModel:
    """Our model with the weights, device and mode of a timm model, and its logits (float32: to 1e-5).

    Raises SpecError for a model that has no counterpart here.

    >>> model = nas.from_timm(timm.create_model("deit_tiny_patch16_224", pretrained=True))
    >>> model.genome.edit({"stages.0.core": "linear_angular"})
    """
    if isinstance(timm_model, TimmModel):  # ours already, from a folder of nas/timm/folder.py
        return timm_model
    if not isinstance(timm_model, VisionTransformer | PyramidVisionTransformerV2):
        message = "no counterpart here; plain ViTs and DeiTs (vit_*, deit_*) and pvt_v2_b0 to b5 have one"
        raise SpecError(message, file=_title(timm_model))
    if not isinstance(timm_model.head, nn.Linear):
        raise SpecError("a model with a linear classifier is needed: num_classes above 0", file=_title(timm_model))
    if isinstance(timm_model, VisionTransformer):
        genome, names = _vit(timm_model), _VIT
    else:
        genome, names = _pvt_v2(timm_model), _PVT
    like = next(timm_model.parameters())
    model = TimmModel(genome).to(like.device, like.dtype)
    model.load_state_dict(_renamed(timm_model, names, model))
    if like.device.type != "meta":
        _check(timm_model, model)
    return model.train(timm_model.training)


def _vit(vit: Any) -> Genome:
    if (vit.global_pool == "token") != vit.has_class_token or vit.global_pool not in ("token", "avg"):
        raise SpecError(
            f"pooling {vit.global_pool!r} {'with' if vit.has_class_token else 'without'} a class token has no "
            "counterpart; token with one, avg without one have",
            file=_title(vit),
        )
    first = vit.blocks[0]
    kind = type(first)
    if kind is not Block:
        raise SpecError(f"its layers are {kind.__name__}, which has no counterpart", file=_title(vit))
    stage = {"patch": vit.patch_embed.patch_size[0], **_widths(first, first.attn.num_heads), "depth": len(vit.blocks)}
    own = {
        "pool": "token" if vit.has_class_token else "mean",
        "position": "none" if vit.pos_embed is None else "absolute",
        "layer_scale": 1e-5 if hasattr(first.ls1, "gamma") else None,
        "qkv_bias": first.attn.qkv.bias is not None,
    }
    side = vit.patch_embed.grid_size[0] * stage["patch"]
    return _genome(vit, side, vit.patch_embed.proj.in_channels, vit.blocks[-1], stages=[stage], **own)


def _pvt_v2(pvt: Any) -> Genome:
    stages = []
    for part in pvt.stages:
        embed, attn = part.downsample or pvt.patch_embed, part.blocks[0].attn
        if attn.pool is not None:
            raise SpecError("the linear variant (pooling to 7×7) has no counterpart", file=_title(pvt))
        bias = attn.q.bias is not None
        ratio = attn.sr.stride[0] if attn.sr is not None else 1
        core = {"block": "spatial_reduction", "ratio": ratio, "bias": bias} if ratio > 1 else "softmax"
        entry = {"patch": embed.proj.stride[0], "kernel": embed.proj.kernel_size[0], "mlp": "depthwise"}
        widths = _widths(part.blocks[0], attn.num_heads)
        stages.append({**entry, **widths, "depth": len(part.blocks), "core": core})
    own = {"position": "none", "embed_norm": True, "stage_norm": True, "qkv_bias": bias}
    channels = pvt.patch_embed.proj.in_channels
    return _genome(pvt, _cfg(pvt).get("input_size", (3, 224, 224))[-1], channels, part.blocks[-1], stages=stages, **own)


def _widths(block: Any, heads: int) -> dict[str, Any]:
    hidden, width = block.mlp.fc1.weight.shape
    return {"width": width, "heads": heads, "mlp_ratio": hidden / width}


def _genome(model: Any, size: int, channels: int, last: Any, **own: Any) -> Genome:
    image = {"size": size, "channels": channels}
    name = _cfg(model).get("architecture", "")
    drop_path = round(getattr(last.drop_path1, "drop_prob", 0.0), 6)  # a float32 in timm
    return Genome.parse({"name": name, "image": image, "classes": model.num_classes, "drop_path": drop_path, **own})


def _renamed(timm_model: nn.Module, names: list[tuple[str, str]], model: TimmModel) -> dict[str, Tensor]:
    own = model.state_dict()
    state: dict[str, Tensor] = {}
    last = f"stages.{len(model.stages) - 1}.norm."
    for key, tensor in timm_model.state_dict().items():
        name = next((re.sub("^" + old, new, key) for old, new in names if re.match(old, key)), "")
        name = name.replace(last, "norm.") if name not in own else name
        if name.replace(".core.kv.", ".qkv.") in own and name not in own:  # kv of a layer without reduction
            name = name.replace(".core.kv.", ".qkv.")
            tensor = torch.cat((state[name], tensor))  # q comes first in timm's order
        state[name] = tensor
        if name not in own:
            raise SpecError(f"its weight {key} has no place in a model of ours", file=_title(timm_model))
    wrong = [name for name, tensor in own.items() if name not in state or state[name].shape != tensor.shape]
    if wrong:
        raise SpecError(f"it has no weight for our {wrong[0]}, or one of another shape", file=_title(timm_model))
    return state


@torch.no_grad()
def _check(timm_model: nn.Module, model: TimmModel) -> None:
    """The same logits on random images, in float32 whatever their own dtype."""
    theirs, ours = (copy.deepcopy(m).float().eval() for m in (timm_model, model))
    image = model.genome.image
    generator = torch.Generator().manual_seed(0)
    images_BCHW = torch.randn(1, image.channels, image.size, image.size, generator=generator)
    images_BCHW = images_BCHW.to(next(model.parameters()).device)
    expected_BK, found_BK = theirs(images_BCHW), ours(images_BCHW)
    moved = ((found_BK - expected_BK).abs().max() / expected_BK.abs().max().clamp_min(1e-6)).item()
    if not moved <= 1e-4:
        raise SpecError(
            f"the weights fit, but logits differ by {moved:.1e} of the largest: it computes something else (an "
            "activation, a norm's epsilon, a mask)",
            file=_title(timm_model),
        )


def _cfg(model: Any) -> dict[str, Any]:
    return getattr(model, "pretrained_cfg", None) or {}


def _title(model: Any) -> str:
    return _cfg(model).get("architecture") or type(model).__name__
