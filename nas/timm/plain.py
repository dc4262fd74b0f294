"""The genome of timm's models of one stage: `VisionTransformer` (ViT, DeiT, DINOv2, CLIP's towers) and `Eva` (DINOv3).

A class token that is not read (average pooling) still takes part: `pool: patches`.
"""

from __future__ import annotations

from typing import Any

from timm.layers import Attention, AttentionRope, RotaryEmbeddingDinoV3
from timm.models.eva import Eva, EvaAttention, EvaBlock
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from nas.timm import parts


def vit(model: Any) -> dict[str, Any]:
    """Keys of a genome for a `VisionTransformer`."""
    if hasattr(model, "dist_token"):
        parts.refuse(model, "its distillation token, with a classifier of its own (dist_token, head_dist),")
    parts.need(model, model, VisionTransformer, "what its class adds")
    for block in model.blocks:
        parts.need(model, block, Block, "its kind of layer")
        parts.need(model, block.attn, Attention, "its attention")
    first = model.blocks[0]
    return _plain(model, first.ls1, model.has_class_token, model.num_reg_tokens) | {
        "qkv_bias": first.attn.qkv.bias is not None
    }


def eva(model: Any) -> dict[str, Any]:
    """Keys of a genome for an `Eva`."""
    parts.need(model, model, Eva, "what its class adds")
    for block in model.blocks:
        parts.need(model, block, EvaBlock, "its kind of layer")
        parts.need(model, block.attn, (EvaAttention, AttentionRope), "its attention")
        if getattr(block.attn, "num_kv_groups", 1) > 1:
            parts.refuse(model, "its grouped-query attention (num_kv_heads)")
        if (block.gamma_1 is None) != (block.gamma_2 is None):
            parts.refuse(model, "a layer scale of attention alone (attn_only_layer_scale)")
    attn, registers = model.blocks[0].attn, 0 if model.reg_token is None else model.reg_token.shape[1]
    separate = getattr(attn, "q_bias", None)  # EVA's own class keeps the bias beside a fused projection
    biased = (attn.q_proj if attn.qkv is None else attn.qkv).bias is not None or separate is not None
    keys = _plain(model, None, model.cls_token is not None, registers)
    scale = model.blocks[0].init_values if model.blocks[0].gamma_1 is not None else None
    return keys | {"qkv_bias": biased, "layer_scale": scale, "rotary": _rotary(model)}


def _rotary(model: Any) -> dict[str, Any] | None:
    rope, attn = model.rope, model.blocks[0].attn
    if rope is None:
        return None
    parts.need(model, rope, RotaryEmbeddingDinoV3, "its kind of rotary positions")
    usual = rope.normalize_coords == "separate" and not rope.grid_offset and rope.grid_indexing == "ij"
    if not (usual and attn.rotate_half):
        parts.refuse(model, "its layout of rotary positions (coordinates or interleaved channels)")
    if rope.aug_active:
        parts.refuse(model, "the augmentation of its rotary positions (shift, jitter, rescale)")
    return {"temperature": rope.temperature or 100.0}


def _plain(model: Any, scale: Any, has_token: bool, registers: int) -> dict[str, Any]:
    """What both classes have."""
    parts.refuse_dropout(model)
    first, embed = model.blocks[0], model.patch_embed
    if model.attn_pool is not None or model.global_pool not in ("token", "avg", ""):
        parts.refuse(model, f"its pooling {model.global_pool!r}", "token and avg have one")
    if getattr(model, "pool_include_prefix", False) and (has_token or registers):
        parts.refuse(model, "its average over class token and registers too (pool_include_prefix)")
    attn, width = first.attn, embed.proj.out_channels
    if parts.is_there(attn.norm):
        parts.refuse(model, "the norm of what its attention answers (scale_norm)")
    if attn.gate is not None:
        parts.refuse(model, "the gate on its attention (gated)")
    if attn.proj.bias is None:
        parts.refuse(model, "a projection without a bias (proj_bias=False)")
    if attn.head_dim * attn.num_heads != width:
        parts.refuse(model, f"its heads of {attn.head_dim}, {attn.num_heads} of which are not its width {width},")
    if parts.is_there(model.norm) == parts.is_there(model.fc_norm):
        there = "both before and behind the pooling" if parts.is_there(model.norm) else "neither before nor behind it"
        parts.refuse(model, f"a last norm {there}")
    norms = {"norm1": first.norm1, "norm2": first.norm2, "norm": model.norm, "fc_norm": model.fc_norm}
    norms |= {"norm_pre": model.norm_pre, "q_norm": attn.q_norm, "k_norm": attn.k_norm}
    prefix = has_token or registers
    stage = {"patch": parts.square_patch(model, embed), "width": width, "heads": attn.num_heads}
    stage |= {"depth": len(model.blocks), **parts.mlp_keys(model, first.mlp, width)}
    reads_token = model.global_pool == "token" or (model.global_pool == "" and has_token)
    position = "none" if model.pos_embed is None else "grid" if model.no_embed_class and prefix else "absolute"
    return {
        "image": {"size": parts.side(model, embed), "channels": embed.proj.in_channels},
        "stages": [stage],
        "position": position,
        "pool": "token" if reads_token else "patches" if has_token else "mean",
        "registers": registers,
        "embed_norm": parts.is_there(embed.norm),
        "embed_bias": embed.proj.bias is not None,
        "norm_pre": parts.is_there(model.norm_pre),
        "last_norm": "pooled" if parts.is_there(model.fc_norm) else "tokens",
        "norm_eps": parts.norm_eps(model, norms),
        "qk_norm": isinstance(attn.q_norm, nn.LayerNorm),
        "layer_scale": parts.layer_scale(scale),
        "drop_path": parts.drop_path(model, list(model.blocks)),
    }
