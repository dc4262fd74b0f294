"""`key.path=value` settings, as command lines and the Makefile's SET= write them: several in one text, values in YAML.

    >>> settings(["training.epochs=30 budget.macs=2e8", "stages.0.core={block: less, rank: 8}"])
    {'training.epochs': '30', 'budget.macs': '2e8', 'stages.0.core': '{block: less, rank: 8}'}

A new setting begins where a space is followed by something that looks like a key and an equals sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from nas.errors import SpecError
from nas.files import parse_yaml

_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z_][\w.*{},-]*)=")


def settings(texts: Iterable[str]) -> dict[str, str]:
    """Key path to the text of its value. Raises SpecError for what is no setting."""
    values: dict[str, str] = {}
    for text in texts:
        keys = list(_KEY.finditer(text))
        if not keys or text[: keys[0].start()].strip():
            raise SpecError(f"expected KEY=VALUE, found {text!r}", path="--set")
        ends = [key.start() for key in keys[1:]] + [len(text)]
        values |= {key[1]: text[key.end() : end].strip() for key, end in zip(keys, ends, strict=True)}
    return values


def parsed(texts: Iterable[str]) -> dict[str, Any]:
    """Key path to value. Raises SpecError for a value that is not YAML."""
    return {key: parse_yaml(text, file=f"--set {key}") for key, text in settings(texts).items()}


def section(name: str, flat: dict[str, Any]) -> dict[str, Any]:
    """The keys below `name`, nested. Raises SpecError where one key is both a value and a section.

    >>> section("training", {"training.augment.flip": False, "stages.0.width": 32})
    {'augment': {'flip': False}}
    """
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        first, *keys = path.split(".")
        if first != name or not keys:
            continue
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise SpecError(f"nothing below {key!r} to set: it was set to {node!r}", file="--set", path=path)
        node[keys[-1]] = value
    return tree
