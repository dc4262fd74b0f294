"""The genome of timm's models of several stages: `PyramidVisionTransformerV2` and `SwinTransformer`.

- A PVTv2 stage without reduction (the last) is plain softmax here: q and kv become one qkv.
- A Swin layer is a `window` core with the window and the shift that it has at its grid. timm pads a grid that windows
  do not divide, and lets the padding take part; that is refused, as in nas/blocks/window.py.
"""

from __future__ import annotations

from typing import Any

from timm.models.pvt_v2 import MlpWithDepthwiseConv
from timm.models.swin_transformer import SwinTransformer

from nas.timm import parts


def pvt_v2(model: Any) -> dict[str, Any]:
    """Keys of a genome for a `PyramidVisionTransformerV2`. Any image size fits; it is that of its configuration."""
    parts.refuse_dropout(model)
    stages: list[dict[str, Any]] = []
    core: dict[str, Any]
    norms: dict[str, Any] = {}
    for part in model.stages:
        embed, block = part.downsample or model.patch_embed, part.blocks[0]
        attn, width = block.attn, embed.proj.out_channels
        bias, core = attn.q.bias is not None, {"block": "softmax"}
        if attn.pool is not None:
            core = {"block": "spatial_reduction", "pooled": attn.pool.output_size, "bias": bias}
        elif attn.sr is not None:
            core = {"block": "spatial_reduction", "ratio": attn.sr.stride[0], "bias": bias}
        entry = {"patch": embed.proj.stride[0], "kernel": embed.proj.kernel_size[0]}
        entry |= {"width": width, "heads": attn.num_heads, "depth": len(part.blocks), "core": core}
        kind = "relu_depthwise" if parts.is_there(block.mlp.relu) else "depthwise"
        parts.need(model, block.mlp, MlpWithDepthwiseConv, "its MLP")
        stages.append(entry | parts.mlp_keys(model, block.mlp, width, kind))
        norms |= {f"norm1 of stage {len(stages)}": block.norm1, f"norm of stage {len(stages)}": part.norm}
    blocks = [block for part in model.stages for block in part.blocks]
    return {
        "image": {"size": parts.cfg(model).get("input_size", (3, 224, 224))[-1], "channels": _channels(model)},
        "stages": stages,
        "position": "none",
        "embed_norm": True,
        "stage_norm": True,
        "qkv_bias": bias,
        "norm_eps": parts.norm_eps(model, norms),
        "drop_path": parts.drop_path(model, blocks),
    }


def swin(model: Any) -> dict[str, Any]:
    """Keys of a genome for a `SwinTransformer`."""
    parts.need(model, model, SwinTransformer, "what its class adds")
    parts.refuse_dropout(model)
    if model.global_pool != "avg":
        parts.refuse(model, f"its pooling {model.global_pool!r}", "avg has one")
    stages: list[dict[str, Any]] = []
    norms: dict[str, Any] = {"norm": model.norm}
    for index, part in enumerate(model.layers):
        block = part.blocks[0]
        width, heads = block.dim, block.attn.num_heads
        if block.attn.qkv.out_features != 3 * width:
            parts.refuse(model, "a head dimension of its own (head_dim)")
        entry = {"patch": 2 if index else parts.square_patch(model, model.patch_embed), "width": width, "heads": heads}
        layers = [{"core": _window(model, block)} for block in part.blocks]
        stages.append(entry | {"layers": layers} | parts.mlp_keys(model, block.mlp, width))
        norms |= {f"norm1 of stage {index}": block.norm1, f"norm2 of stage {index}": block.norm2}
        if index:
            norms[f"norm of stage {index}'s merging"] = part.downsample.norm
    bias = model.layers[0].blocks[0].attn.qkv.bias is not None
    return {
        "image": {"size": parts.side(model, model.patch_embed), "channels": _channels(model)},
        "stages": stages,
        "position": "none",
        "merging": "normed",
        "embed_norm": parts.is_there(model.patch_embed.norm),
        "qkv_bias": bias,
        "norm_eps": parts.norm_eps(model, norms),
        "drop_path": parts.drop_path(model, [block for part in model.layers for block in part.blocks]),
    }


def _window(model: Any, block: Any) -> dict[str, Any]:
    (high, wide), shift = block.window_size, tuple(block.shift_size)
    if high != wide or shift not in ((0, 0), (high // 2, wide // 2)):
        parts.refuse(model, f"its window of {high}×{wide}, shifted by {shift[0]}×{shift[1]},")
    return {"block": "window", "size": high, "shift": any(shift)}


def _channels(model: Any) -> int:
    return int(model.patch_embed.proj.in_channels)
