"""Dotted paths: plain data (what a YAML file holds) read, changed and compared by the keys that lead to a value.

    training.epochs              a key of a mapping inside a mapping
    stages.1.split               an element of a list, by its index
    stages.*.local.kernel        the same place in every element of a list

Some mappings have dotted paths as their own keys: `parameters:` of a space, the edits of an ablation's arm. Below such
a place, which the caller names as `keyed`, all that is left of a path is one key:
    parameters.stages.0.split    key `stages.0.split` of `parameters`          (keyed: parameters)
    arms.bare.stages.*.core      key `stages.*.core` of the arm `bare`         (keyed: arms.*)

A command line writes `key.path=value`, several in one text, values in YAML. A setting begins where a space is followed
by something that looks like a key and an equals sign; of several texts, the later one counts.

    >>> changed({"training": {"epochs": 15}}, parse_settings(["training.epochs=30 stages=[1, 2]", "stages.0=4"]))
    {'training': {'epochs': 30}, 'stages': [4, 2]}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from nas.errors import SpecError, shown
from nas.plain_yaml import parse_yaml

SET = "--set"  # the `file` of a mistake in a setting
Opened = Callable[[str, Any], Any]
_KEY = re.compile(r"(?:^|(?<=\s))([A-Za-z_.][\w.*{},-]*)=")


def parse_settings(texts: Iterable[str], *, file: str = SET) -> dict[str, Any]:
    """Path to value. Raises SpecError for what is no setting, a value that is not YAML, a path twice in one text.

    file: where a mistake is said to be.
    """
    values: dict[str, Any] = {}
    for text in texts:
        keys = list(_KEY.finditer(text))
        if not keys or text[: keys[0].start()].strip():
            raise SpecError(f"expected KEY=VALUE, found {shown(text)}", file=file)
        paths = [key[1] for key in keys]
        for path in paths:
            if paths.count(path) > 1:
                raise SpecError("is set twice", file=file, path=path)
        ends = [key.start() for key in keys[1:]] + [len(text)]
        for path, key, end in zip(paths, keys, ends, strict=True):
            values[path] = parse_yaml(text[key.end() : end].strip(), file=f"{file}: {path}")
    return values


def changed(
    data: dict[str, Any],
    changes: dict[str, Any],
    *,
    opened: Opened = lambda key, value: value,
    keyed: Collection[str] = (),
    kind: type[SpecError] = SpecError,
) -> dict[str, Any]:
    """`data` with every value of `changes` at its path; neither is altered.

    Shorter paths come first, and of equally long ones those with `*`, so that a path may change what another has set.
    Keys that are missing on the way become mappings. opened(key, value): what to walk into where `value` is found on
    the way and more is to follow, which is how shorthand (a name for a mapping) is written out.

    Raises `kind` with the path that cannot be set.
    """
    steps = {path: _steps(path, keyed, kind) for path in changes}
    for path in sorted(changes, key=lambda path: (len(steps[path]), [key != "*" for key in steps[path]])):
        try:
            data = _with(data, steps[path], changes[path], (), opened)
        except SpecError as error:
            raise kind(error.message, path=path) from None
    return data


def found(data: Any, path: str) -> list[Any]:
    """The values at a path: none, one, or with `*` several.

    >>> found({"stages": [{"width": 32}, {"width": 64}]}, "stages.*.width")
    [32, 64]
    """
    nodes = [data]
    for key in path.split("."):
        nodes = [child for node in nodes for child in _children(node, key)]
    return nodes


def flat(data: Any, free: Collection[str] = (), prefix: str = "") -> dict[str, Any]:
    """Leaves by dotted path, without those at or below a path in `free`. A list is a leaf; an empty mapping has none.

    >>> flat({"training": {"epochs": 3, "augment": {}}})
    {'training.epochs': 3}
    """
    if not isinstance(data, dict):
        return {prefix: data} if prefix else {}
    leaves: dict[str, Any] = {}
    for key, inner in data.items():
        path = f"{prefix}.{key}" if prefix else str(key)
        if path not in free:
            leaves |= flat(inner, free, path)
    return leaves


class Difference(NamedTuple):
    """A key that two specs do not have alike, by its dotted path."""

    path: str
    old: Any
    new: Any


def difference(old: dict[str, Any], new: dict[str, Any], free: Collection[str] = ()) -> Difference | None:
    """The first key that differs, other than the paths in `free`; a missing key is as good as a null one."""
    then, now = flat(old, free), flat(new, free)
    return next((Difference(k, then.get(k), now.get(k)) for k in then | now if then.get(k) != now.get(k)), None)


def called(value: Any) -> str:
    """What a value is, in the words of a message: `a string ('lavit_digits')`, `not set`."""
    if value is None:
        return "not set"
    kinds = {str: "a string", int: "a number", float: "a number", list: "a list", dict: "a mapping"}
    return f"{kinds.get(type(value), 'a plain value')} ({shown(value)})"


def _steps(path: str, keyed: Collection[str], kind: type[SpecError]) -> list[str]:
    steps = path.split(".")
    if "" in steps:
        raise kind("a key between the dots is empty", path=path)
    for place in keyed:
        names = place.split(".")
        if len(steps) > len(names) and all(name in ("*", key) for name, key in zip(names, steps, strict=False)):
            return [*steps[: len(names)], ".".join(steps[len(names) :])]
    return steps


def _with(node: Any, keys: list[str], value: Any, done: tuple[str, ...], opened: Opened) -> Any:
    """`node`, which stands at `done`, with `value` at `keys` below it. Whatever changes on the way is a copy."""
    if not keys:
        return value
    key, rest = keys[0], keys[1:]

    def below(at: str, child: Any) -> Any:
        return _with(opened(at, child) if rest else child, rest, value, (*done, at), opened)

    where = ".".join(done)
    if isinstance(node, list):
        if key != "*" and key not in map(str, range(len(node))):
            raise SpecError(f"expected an index below {len(node)} or *, found {shown(key)}")
        return [below(str(i), child) if key in ("*", str(i)) else child for i, child in enumerate(node)]
    if not isinstance(node, dict):
        raise SpecError(f"cannot be set: {where} is {called(node)}")
    if key == "*":
        raise SpecError(f"* stands for every element of a list, and {where or 'the whole'} is a mapping")
    return node | {key: below(key, node.get(key, {}))}


def _children(node: Any, key: str) -> list[Any]:
    if isinstance(node, list):
        return node if key == "*" else [child for index, child in enumerate(node) if str(index) == key]
    return [node[key]] if isinstance(node, dict) and key in node else []
