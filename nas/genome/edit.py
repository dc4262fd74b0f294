"""Dotted-path edits on a genome's plain data: what search spaces, ablation arms and the command line write.

    stages.1.split               one value
    stages.*.local.kernel        the same value in every stage
    stages.0.layers.2.core       the core of one run of layers

A path must name something the genome has, or an option of it: validation afterwards refuses what it does not know.
Shorthand is opened on the way down (`less` is `{block: less}`, `softmax x 2` a run, a number a constant schedule).
"""

from __future__ import annotations

import copy
import re
from typing import Any

from nas.blocks import registered
from nas.blocks.base import Slot
from nas.errors import GenomeError

_SLOTS: dict[str, Slot] = {"core": "core", "tail": "core", "auxiliary": "auxiliary", "local": "local"}


def edited(data: dict[str, Any], changes: dict[str, Any], full: dict[str, Any]) -> dict[str, Any]:
    """A copy of `data` with `changes` applied, shorter paths first. `full` has every default written out."""
    data = copy.deepcopy(data)
    for path in sorted(changes, key=lambda p: (p.count("."), p)):
        _set(data, full, path.split("."), changes[path], path)
    return data


def _set(node: Any, full: Any, keys: list[str], value: Any, path: str) -> None:
    key, rest = keys[0], keys[1:]
    if isinstance(node, list):
        indices = range(len(node)) if key == "*" else [_index(key, node, path)]
        for i in indices:
            if rest:
                node[i] = _opened(node[i], "layers")
                _set(node[i], _child(full, i), rest, value, path)
            else:
                node[i] = value
        return
    if not rest:
        node[key] = value
        return
    child = node.get(key, copy.deepcopy(_child(full, key)))  # a part left at its default becomes explicit
    if child is None and "patch" in node:  # of a stage written in short
        child = {"core": "softmax", "tail": "less"}.get(key)
    child = _opened(child, key)
    if not isinstance(child, (dict, list)):
        found = "not set" if child is None else f"the plain value {child!r}"
        raise GenomeError(f"nothing below {key!r} to set: it is {found} in the genome", path=path)
    node[key] = child
    _set(child, _child(full, key), rest, value, path)


def _opened(value: Any, key: str) -> Any:
    if key in _SLOTS and isinstance(value, (str, dict)):
        given = {"block": value} if isinstance(value, str) else value
        known = registered(_SLOTS[key]).get(str(given.get("block")))  # an unknown name is left for validation to refuse
        return known.Config().model_dump(mode="json") | given if known else given
    if isinstance(value, str) and key == "layers":
        match = re.fullmatch(r"(\w+)(?: x (\d+))?", value)  # as Genome.to_yaml writes it
        return {"core": match[1], "repeat": int(match[2] or 1)} if match else value
    if isinstance(value, (int, float)) and not isinstance(value, bool) and key in ("epsilon", "weight"):
        return {"start": value, "end": value}
    return value


def _child(full: Any, key: str | int) -> Any:
    if isinstance(full, dict):
        return full.get(str(key))
    return full[key] if isinstance(full, list) and isinstance(key, int) and key < len(full) else None


def _index(key: str, node: list[Any], path: str) -> int:
    if not key.isdigit() or int(key) >= len(node):
        raise GenomeError(f"expected an index below {len(node)} or *, found {key!r}", path=path)
    return int(key)
