"""A genome's hash: 12 hex digits over everything that training can see; names, notes and shorthand do not matter.

The hash names what was trained: runs recognise a genome by it, also runs that an older version made. So a key that is
left at its default must never change a hash, or every key that is added would make all known genomes unknown:
- what version 0.1 wrote into the hashed JSON is always written (`WRITTEN`);
- whatever came later is left out while it has its default. A new key therefore has a default that means "as before".
A block that 0.1 did not have, a plug-in's for instance, is written by its name and the options that are not default.

`WRITTEN` is history: nothing is ever added to it or taken away. tests/genome/test_hash.py pins hashes made by 0.1.
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
IN_LAYOUT = {"image", "stages", "drop_path"}  # keys of a genome that training sees through its layout alone
UNSEEN = {"name", "notes"}


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
    """A part of a layout, which its parent holds as `field`, as JSON data."""
    if isinstance(value, BlockConfig):
        return _written(value, {"block"} | WRITTEN.get(f"{field} {value.block}", set()), set())
    if hasattr(value, "_asdict"):
        always, defaults = WRITTEN.get(type(value).__name__, set()), value._field_defaults
        parts = value._asdict().items()
        return {k: _plain(v, k) for k, v in parts if k in always or k not in defaults or v != defaults[k]}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value


def _written(model: BaseModel, always: set[str], without: set[str]) -> dict[str, Any]:
    """The keys of `always`, and of all others but `without` those that are not at their default."""
    newer = model.model_dump(mode="json", exclude=always | without, exclude_defaults=True)
    return model.model_dump(mode="json", include=always) | newer
