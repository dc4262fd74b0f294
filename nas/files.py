"""Files that are either whole or absent, and YAML that is data and nothing else.

Writes go to a temporary neighbour and are renamed over the target, so that a kill or a full disk never leaves half a
file. YAML is read with the YAML 1.2 reading of scalars, where PyYAML's YAML 1.1 surprises people who write configs:
`1e-3` is a number, `off` and `no` are strings (block variants are called that). Tags (`!!python/...`) and duplicate
keys are refused.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from nas.errors import SpecError


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write(temporary)` and move the result over `path`; nothing is left behind if `write` fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda p: p.write_text(text))


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2 booleans and floats, and no duplicate keys."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in pairs if tag.rsplit(":", 1)[1] not in ("bool", "float", "timestamp")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_BOOL = re.compile(r"^(?:true|false|True|False|TRUE|FALSE)$")
_FLOAT = re.compile(
    r"^[-+]?(?:(?:\d[\d_]*)?\.\d+|\d[\d_]*\.?)(?:[eE][-+]?\d+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _BOOL, list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, (list, dict)) or key in seen:
            mark = key_node.start_mark
            raise yaml.MarkedYAMLError(problem=f"key {key!r} is not usable or given twice", problem_mark=mark)
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


class _Dumper(yaml.SafeDumper):
    """SafeDumper whose output `parse_yaml` reads back equal: strings that look like numbers or booleans are quoted."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def parse_yaml(text: str, *, file: object = None) -> Any:
    """The data in a YAML text. Raises SpecError with file, line and column for anything that is not plain data."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = str(error.problem or error.context)
        if "could not determine a constructor" in problem:
            problem = "YAML tags are not read; write plain values"
        raise SpecError(f"{where}not readable as YAML: {problem}", file=file) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SpecError(f"not readable as YAML: {' '.join(str(error).split())}", file=file) from None


def read_yaml(path: Path) -> Any:
    """`parse_yaml` of a file; a missing or binary file is a SpecError as well."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError("no such file", file=path) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"not readable: {error}", file=path) from None
    return parse_yaml(text, file=path)


def dump_yaml(value: Any) -> str:
    """YAML with keys in the order given and short sequences on one line; `parse_yaml` gives the value back."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
