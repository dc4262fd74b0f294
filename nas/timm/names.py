"""Which of timm's tensors each of ours is made of: one, or several that are stacked (q, k and v; a gate and its input).

A table of patterns serves both directions (convert.py, back.py). Of several rules for one of our names, the first whose
tensors exist there, and together have our shape, is taken. `i`, `j` count stages and layers:

| here | ViT, EVA | PVTv2 | Swin |
|---|---|---|---|
| stages.0.embed | patch_embed | patch_embed | patch_embed |
| stages.i.embed | | stages.i.downsample | layers.i.downsample |
| stages.0.{token, registers, position} | cls_token, reg_token, pos_embed | | |
| stages.0.{rotary.periods, norm_pre} | rope.periods, norm_pre | | |
| stages.i.layers.j | blocks.j | stages.i.blocks.j | layers.i.blocks.j |
| norm, head_norm, head | norm, fc_norm, head | the last stage's norm; head | norm; head.fc |

Within a layer the names are those of `LAYER`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

NOTHING = ""  # in the place of a tensor: as many zeros as its neighbour has (EVA's keys have no bias)
Rules = list[tuple[str, tuple[str, ...]]]

LAYER: Rules = [
    (r"norm([12])\.(.+)", (r"norm\1.\2",)),
    (r"attention\.qkv\.(.+)", (r"attn.qkv.\1",)),
    (r"attention\.qkv\.bias", ("attn.q_bias", "attn.k_bias", "attn.v_bias")),
    (r"attention\.qkv\.(.+)", (r"attn.q_proj.\1", r"attn.k_proj.\1", r"attn.v_proj.\1")),
    (r"attention\.qkv\.bias", ("attn.q_proj.bias", NOTHING, "attn.v_proj.bias")),
    (r"attention\.qkv\.(.+)", (r"attn.q.\1", r"attn.kv.\1")),
    (r"attention\.qkv\.(.+)", (r"attn.q.\1",)),
    (r"attention\.(q_norm|k_norm|proj)\.(.+)", (r"attn.\1.\2",)),
    (r"attention\.core\.(kv|sr|norm)\.(.+)", (r"attn.\1.\2",)),
    (r"attention\.core\.bias\.table", ("attn.relative_position_bias_table",)),
    (r"mlp\.fc1\.(.+)", (r"mlp.fc1.\1",)),
    (r"mlp\.fc1\.(.+)", (r"mlp.fc1_g.\1", r"mlp.fc1_x.\1")),
    (r"mlp\.conv\.(.+)", (r"mlp.dwconv.\1",)),
    (r"mlp\.fc2\.(.+)", (r"mlp.fc2.\1",)),
    (r"scale([12])\.gamma", (r"ls\1.gamma",)),
    (r"scale([12])\.gamma", (r"gamma_\1",)),
]
BLOCKS = (r"blocks.\2.", r"stages.\1.blocks.\2.", r"layers.\1.blocks.\2.")
REST: Rules = [
    (r"stages\.0\.embed\.(.+)", (r"patch_embed.\1",)),
    (r"stages\.(\d+)\.embed\.(.+)", (r"stages.\1.downsample.\2",)),
    (r"stages\.(\d+)\.embed\.(.+)", (r"layers.\1.downsample.\2",)),
    (r"stages\.0\.token", ("cls_token",)),
    (r"stages\.0\.registers", ("reg_token",)),
    (r"stages\.0\.position", ("pos_embed",)),
    (r"stages\.0\.rotary\.periods", ("rope.periods",)),
    (r"stages\.0\.norm_pre\.(.+)", (r"norm_pre.\1",)),
    (r"stages\.(\d+)\.norm\.(.+)", (r"stages.\1.norm.\2",)),
    (r"norm\.(.+)", (r"norm.\1",)),
    (r"norm\.(.+)", (r"stages.{last}.norm.\1",)),
    (r"head_norm\.(.+)", (r"fc_norm.\1",)),
    (r"head\.(.+)", (r"head.\1",)),
    (r"head\.(.+)", (r"head.fc.\1",)),
]


def counterparts(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> dict[str, tuple[str, ...]]:
    """Our names, and the names of the timm tensors that ours consist of, in order; without those that have none.

    >>> counterparts(model.state_dict(), timm_model.state_dict())["stages.0.layers.2.attention.qkv.weight"]
    ('blocks.2.attn.qkv.weight',)
    """
    last = max(int(name.split(".")[1]) for name in ours if name.startswith("stages."))
    found = {}
    for name, tensor in ours.items():
        fitting = (names for names in _candidates(name, last) if _fit(names, tensor, theirs))
        if (names := next(fitting, None)) is not None:
            found[name] = names
    return found


def _candidates(name: str, last: int) -> Iterator[tuple[str, ...]]:
    layer = re.fullmatch(r"stages\.(\d+)\.layers\.(\d+)\.(.+)", name)
    for pattern, templates in LAYER if layer else REST:
        match = re.fullmatch(pattern, layer[3] if layer else name)
        for block in BLOCKS if layer else ("",):
            if match:
                before = layer.expand(block) if layer else ""
                filled = (match.expand(text.replace("{last}", str(last))) for text in templates)
                yield tuple(before + text if text else NOTHING for text in filled)


def _fit(names: tuple[str, ...], tensor: Tensor, theirs: Mapping[str, Tensor]) -> bool:
    if any(name != NOTHING and name not in theirs for name in names):
        return False
    parts = [theirs[name or names[0]] for name in names]
    return sum(map(len, parts)) == len(tensor) and all(part.shape[1:] == tensor.shape[1:] for part in parts)
