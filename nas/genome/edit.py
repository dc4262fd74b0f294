"""Dotted-path edits of a genome's plain data, for search spaces, ablation arms and the command line.

    stages.1.split               one value
    stages.*.local.kernel        the same value in every stage
    stages.0.layers.2.core       the core of one run of layers

The result is validated as any genome is, which refuses unknown keys. Paths are resolved by nas/paths.py. This module
expands the genome's shorthand along a path: `less` to `{block: less}` with the block's defaults, `softmax x 2` to a run
of layers, a number to a constant schedule.
"""

from __future__ import annotations

import re
from typing import Any

from nas.blocks import registered
from nas.blocks.base import Slot
from nas.errors import GenomeError, shown
from nas.paths import changed

_SLOTS: dict[str, Slot] = {"core": "core", "tail": "core", "auxiliary": "auxiliary", "local": "local"}
_UNSET = {"core": "softmax", "tail": "less"}  # the block of a slot that a stage leaves unset
_RUN = re.compile(r"\s*(\w+)\s*(?:[x×*]\s*(\d{1,4}))?\s*")


def edited(data: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`data`, in which every default is written out, with `changes` applied. Raises GenomeError with the path."""
    return changed(data, changes, opened=_opened, kind=GenomeError)


def parse_run(text: str) -> dict[str, Any]:
    """The mapping that `softmax x 2` stands for. Raises GenomeError."""
    match = _RUN.fullmatch(text)
    if match is None:
        raise GenomeError(f"expected a run of layers like `softmax x 2`, found {shown(text)}")
    return {"core": match[1], "repeat": int(match[2] or 1)}


def _opened(key: str, value: Any) -> Any:
    if value is None:
        value = _UNSET.get(key)
    if key in _SLOTS and isinstance(value, (str, dict)):
        given = {"block": value} if isinstance(value, str) else value
        known = registered(_SLOTS[key]).get(str(given.get("block")))  # validation refuses an unknown name
        return known.Config.model_construct().model_dump(mode="json") | given if known else given
    if key == "layers" and isinstance(value, str):
        return value.split(",")
    if key.isdecimal() and isinstance(value, str):  # an element of `layers`
        return parse_run(value)
    if key in ("epsilon", "weight") and isinstance(value, (int, float)) and not isinstance(value, bool):
        return {"start": value, "end": value}
    return value
