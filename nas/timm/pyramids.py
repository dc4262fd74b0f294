"""The genome of timm's models of several stages: `PyramidVisionTransformerV2` (pvt_v2_b0 to b5, b2_li).

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


def _channels(model: Any) -> int:
    return int(model.patch_embed.proj.in_channels)
