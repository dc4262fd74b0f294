"""The parts of a timm model as keys of a genome; one that has no counterpart is refused by its name.

Dropout before the classifier and stochastic depth are carried; any other dropout is refused.
"""

from __future__ import annotations

import math
from typing import Any, NoReturn

from timm.layers import GELU, GluMlp, LayerScale, Mlp, PatchEmbed, SwiGLU
from torch import nn

from nas.errors import SpecError

HEAD_DROPS = ("head_drop", "head.drop")  # before the classifier
EMBED_EPS = 1e-5  # of the norm behind a patch embedding


def title(model: Any) -> str:
    return cfg(model).get("architecture") or type(model).__name__


def cfg(model: Any) -> dict[str, Any]:
    return getattr(model, "pretrained_cfg", None) or {}


def refuse(model: Any, part: str, remedy: str = "") -> NoReturn:
    raise SpecError(f"{part} has no counterpart here{remedy and '; '}{remedy}", file=title(model))


def need(model: Any, found: object, kinds: type | tuple[type, ...], part: str) -> None:
    """Refuse `part` unless it is of one of these classes and of no subclass, which may compute something else."""
    if type(found) not in (kinds if isinstance(kinds, tuple) else (kinds,)):
        refuse(model, f"{part} ({type(found).__name__})")


def norm_eps(model: Any, norms: dict[str, Any]) -> float:
    """The one epsilon of these layer norms, by name; `Identity` is a norm that is not there."""
    present = {name: norm for name, norm in norms.items() if not isinstance(norm, nn.Identity)}
    for name, norm in present.items():
        if not isinstance(norm, nn.LayerNorm) or norm.bias is None:
            refuse(model, f"its {name} ({type(norm).__name__})")
    found = {norm.eps for norm in present.values()}
    if len(found) > 1:
        refuse(model, f"a model whose norms have several epsilons ({', '.join(present)}: {sorted(found)})")
    return float(found.pop())


def is_there(norm: Any) -> bool:
    return not isinstance(norm, nn.Identity)


def mlp_keys(model: Any, mlp: Any, width: int, kind: str = "plain") -> dict[str, Any]:
    """`mlp` and `mlp_ratio` of a stage."""
    if kind == "plain":
        need(model, mlp, (Mlp, GluMlp, SwiGLU), "its MLP")
        if is_there(mlp.norm):
            refuse(model, "the norm in its MLP (scale_mlp)")
    gated = isinstance(mlp, GluMlp | SwiGLU)
    if gated and (not isinstance(mlp.act, nn.SiLU) or getattr(mlp, "gate_last", False)):
        refuse(model, f"its MLP gated by {type(mlp.act).__name__}")
    if not gated and not (isinstance(mlp.act, GELU) or getattr(mlp.act, "approximate", "") == "none"):
        refuse(model, f"its activation {type(mlp.act).__name__}", "GELU has one")
    if any(isinstance(linear, nn.Linear) and linear.bias is None for linear in mlp.children()):
        refuse(model, "an MLP without biases")
    hidden = mlp.fc2.in_features
    ratio = hidden / width
    ratio = ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)
    return {"mlp": "swiglu" if gated else kind, "mlp_ratio": ratio}


def layer_scale(scale: Any) -> float | None:
    """The initial value of a layer scale; it says no more than that there is one."""
    return float(scale.init_values) if isinstance(scale, LayerScale) else None


def drop_path(model: Any, blocks: list[Any]) -> float:
    """The rate of stochastic depth of the last layer; refused where it does not rise linearly from zero."""
    rates = [
        getattr(drop, "drop_prob", 0.0) or 0.0 for block in blocks for drop in (block.drop_path1, block.drop_path2)
    ]
    last = rates[-1]
    expected = [last * (i // 2) / max(1, len(blocks) - 1) for i in range(len(rates))]
    if any(abs(rate - line) > 1e-6 for rate, line in zip(rates, expected, strict=True)):
        refuse(model, "stochastic depth that does not rise linearly from zero", "set drop_path1.drop_prob accordingly")
    return round(last, 6)  # a float32 in timm


def refuse_dropout(model: Any) -> None:
    """Refuse every dropout that is on, but the one before the classifier."""
    for name, module in model.named_modules():
        on = (isinstance(module, nn.Dropout) and module.p > 0) or type(module).__name__.startswith("PatchDropout")
        if on and name not in HEAD_DROPS:
            rate = getattr(module, "p", None) or getattr(module, "prob", 0.0)
            refuse(model, f"its dropout {name} (rate {rate:g})", "make the model without it")


def square_patch(model: Any, embed: Any) -> int:
    """The side of a plain patch embedding's patches."""
    need(model, embed, PatchEmbed, "its patch embedding")
    high, wide = embed.proj.kernel_size
    if high != wide:
        refuse(model, f"its patch of {high}×{wide} pixels", "patches are square here")
    if is_there(embed.norm) and norm_eps(model, {"patch_embed.norm": embed.norm}) != EMBED_EPS:
        refuse(model, f"the epsilon of its patch_embed.norm ({embed.norm.eps:g})", f"{EMBED_EPS:g} has one")
    return int(high)


def side(model: Any, embed: Any) -> int:
    """The side of the images, which its patches divide."""
    (high, wide), patch = embed.img_size, embed.patch_size[0]
    if high != wide:
        raise SpecError(f"images are square here, and its are {high}×{wide}", file=title(model))
    if high % patch:
        near = f"{high // patch * patch} and {-(-high // patch) * patch}"
        raise SpecError(
            f"its patches of {patch} do not divide images of {high} pixels; {near} would do", file=title(model)
        )
    return int(high)
