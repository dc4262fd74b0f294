"""A genome's hash: 12 hex digits over everything that affects training. Names, notes, preprocessing and shorthand
do not count.

Runs identify a genome by its hash, including runs of older versions. A key left at its default must therefore never
change a hash, or each new key would change the hash of every existing genome:
- keys that version 0.1 hashed are always included (`WRITTEN`);
- later keys are included only if they differ from their default, which must mean "as before".
A block that 0.1 did not have (a plug-in's, say) is included as its name and its options that differ from the default.

`WRITTEN` never changes. tests/genome/test_hash.py pins hashes made by 0.1.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from nas.blocks import BlockConfig

if TYPE_CHECKING:
    from nas.genome.schema import Genome

WRITTEN = {
    "Genome": {"classes", "position", "pool", "stem", "embed_norm", "stage_norm", "qkv_bias", "layer_scale"},
    "Diagonal": {"variant", "weight", "matrix"},
    "StagePlan": {
        *("name", "channels", "width", "kernel", "stride", "grid", "prefix", "mlp", "layers"),
        *("attention_residual", "source", "residual"),
    },
    "LayerPlan": {"name", "site", "core", "auxiliary", "local", "hidden", "drop_path"},
    "Site": {"grid", "width", "heads", "prefix", "incoming", "residual"},
    "ScoreForm": {"kind", "features"},
    "core softmax": {"relative"},
    "core less": {"transform", "rank", "kernel", "per_head", "bias", "source", "path"},
    "core linear_angular": {"constant", "normaliser", "kernel"},
    "core focused_linear": {"power", "key_position"},
    "core pooling": {"kernel"},
    "core skip_attention": {"expansion", "kernel"},
    "core spatial_reduction": {"ratio", "bias"},
    "core window": {"size", "shift"},
    "auxiliary masked_softmax": {"epsilon", "unit", "weight", "top_k"},
    "local depthwise": {"dimensions", "kernel"},
}
IN_LAYOUT = {"image", "stages", "drop_path"}  # genome keys that are hashed as part of the layout
UNSEEN = {"name", "notes", "preprocess", "class_names"}


def hash_of(genome: Genome) -> str:
    """12 hex digits; see the head of this file."""
    loss = genome.loss
    full = {
        "layout": _plain(genome.layout),
        "loss": _written(loss.diagonal, WRITTEN["Diagonal"], set()) if loss.diagonal.active else None,
        **{f"loss.{term}": value for term, value in _written(loss, set(), {"diagonal"}).items()},
        **_written(genome, WRITTEN["Genome"], IN_LAYOUT | UNSEEN | {"loss"}),
    }
    return hashlib.sha256(json.dumps(full, sort_keys=True).encode()).hexdigest()[:12]


def _plain(value: Any, field: str = "") -> Any:
    """A part of a layout as JSON data. field: the key under which its parent holds it."""
    if isinstance(value, BlockConfig):
        return _written(value, {"block"} | WRITTEN.get(f"{field} {value.block}", set()), set())
    if hasattr(value, "_asdict"):
        always, defaults = WRITTEN.get(type(value).__name__, set()), value._field_defaults
        parts = value._asdict().items()
        return {k: _plain(v, k) for k, v in parts if k in always or k not in defaults or v != defaults[k]}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _written(model: BaseModel, always: set[str], without: set[str]) -> dict[str, Any]:
    """The keys of `always`, and all others that differ from their default, except `without`."""
    newer = model.model_dump(mode="json", exclude=always | without, exclude_defaults=True)
    return model.model_dump(mode="json", include=always) | newer
