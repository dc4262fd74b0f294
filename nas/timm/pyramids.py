"""The genome of timm's models of several stages: `PyramidVisionTransformerV2` (pvt_v2_b0 to b5).

A PVTv2 stage without reduction (the last) is plain softmax here: q and kv become one qkv.
"""

from __future__ import annotations

from typing import Any

from timm.models.pvt_v2 import MlpWithDepthwiseConv

from nas.timm import parts


def pvt_v2(model: Any) -> dict[str, Any]:
    """Keys of a genome for a `PyramidVisionTransformerV2`. Any image size fits; it is that of its configuration."""
    parts.refuse_dropout(model)
    stages: list[dict[str, Any]] = []
    norms: dict[str, Any] = {}
    for part in model.stages:
        embed, block = part.downsample or model.patch_embed, part.blocks[0]
        attn, width = block.attn, embed.proj.out_channels
        if attn.pool is not None:
            parts.refuse(model, "the linear variant (pooling to 7×7)")
        bias = attn.q.bias is not None
        ratio = attn.sr.stride[0] if attn.sr is not None else 1
        core = {"block": "spatial_reduction", "ratio": ratio, "bias": bias} if ratio > 1 else "softmax"
        entry = {"patch": embed.proj.stride[0], "kernel": embed.proj.kernel_size[0]}
        entry |= {"width": width, "heads": attn.num_heads, "depth": len(part.blocks), "core": core}
        parts.need(model, block.mlp, MlpWithDepthwiseConv, "its MLP")
        stages.append(entry | parts.mlp_keys(model, block.mlp, width, "depthwise"))
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


def _channels(model: Any) -> int:
    return int(model.patch_embed.proj.in_channels)
