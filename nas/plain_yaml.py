"""YAML restricted to plain data.

Reading: scalars follow YAML 1.2's core schema, since YAML 1.1 has surprises in configuration files. `010` is 10,
`0o17` is 15, `1e-3` is a number; `off`, `no`, `1:30`, `0b11` and dates are strings. There are three deviations:
`400_000` is a number, `<<: *other` merges mappings as in YAML 1.1, and every key is a string. Tags (`!!bool`,
`!!python/...`) and duplicate keys are refused, and sizes are limited (see the constants below).

Writing: a string is quoted if any reader, of YAML 1.1 or 1.2, would read it as another type.

PyYAML scans and parses; this module constructs the data from its events. PyYAML's own constructor reads YAML 1.1 and
expands aliases without a bound. ruamel.yaml supports YAML 1.2, but takes 1.7 times as long, still reads dates and
`0b11`, and would need the same checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from nas.errors import SpecError
from nas.files import UNUSABLE, regular

CHARACTERS = 2**20  # of a text
VALUES = 50_000  # of a document, with aliases written out
DEPTH = 64  # of nested lists and mappings
DIGITS = 100  # of a number

_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_WORDS |= {form: _WORDS[word] for word in ("null", "true", "false") for form in (word.title(), word.upper())}
_DECIMALS = "[0-9]+(?:_[0-9]+)*"  # 400_000, as in Python
_NUMBERS: list[tuple[re.Pattern[str], Callable[[str], int | float]]] = [
    (re.compile(rf"[-+]?{_DECIMALS}"), int),
    (re.compile("0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(rf"[-+]?(?:\.{_DECIMALS}|{_DECIMALS}(?:\.(?:{_DECIMALS})?)?)(?:[eE][-+]?{_DECIMALS})?"), float),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
]


def _refusal(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


class _Document:
    """The single document of a text: `data()` converts the parser's events to plain data."""

    def __init__(self, text: str):
        self.parser = yaml.BaseLoader(text)
        self.events: list[Any] = []
        self.anchors: dict[str, int] = {}
        self.targets: dict[int, int] = {}  # alias → its node, both as event numbers
        self.values = 0

    def event(self, at: int) -> Any:
        """Event number `at`. Events are parsed lazily, so parsing stops when a limit is exceeded."""
        while len(self.events) <= at:
            event = self.parser.get_event()
            if isinstance(event, yaml.AliasEvent):
                if event.anchor not in self.anchors:
                    raise _refusal(event, f"nothing before is called &{event.anchor}")
                self.targets[len(self.events)] = self.anchors[event.anchor]
            elif getattr(event, "anchor", None) is not None:
                self.anchors[event.anchor] = len(self.events)
            self.events.append(event)
        return self.events[at]

    def data(self) -> Any:
        if isinstance(self.event(1), yaml.StreamEndEvent):
            return None
        value, end = self.value(2, 0)
        if not isinstance(event := self.event(end + 1), yaml.StreamEndEvent):
            raise _refusal(event, "a second document begins; one is expected")
        return value

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        """The value whose first event is number `at`, and the number of the event after its last."""
        event = self.event(at)
        self.values += 1
        if self.values > VALUES:
            raise _refusal(event, f"more than {VALUES:,} values, with aliases written out")
        if isinstance(event, yaml.AliasEvent):
            return self.value(self.targets[at], depth)[0], at + 1
        if event.tag is not None:
            raise _refusal(event, "YAML tags are not read; write plain values")
        if isinstance(event, yaml.ScalarEvent):
            return _scalar(event), at + 1
        if depth == DEPTH:
            raise _refusal(event, f"more than {DEPTH} lists and mappings inside each other")
        inside = self.mapping if isinstance(event, yaml.MappingStartEvent) else self.sequence
        return inside(at + 1, depth + 1)

    def sequence(self, at: int, depth: int) -> tuple[list[Any], int]:
        items = []
        while not isinstance(self.event(at), yaml.SequenceEndEvent):
            item, at = self.value(at, depth)
            items.append(item)
        return items, at + 1

    def mapping(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        while not isinstance(event := self.event(at), yaml.MappingEndEvent):
            key, at = self.value(at, depth)
            value, at = self.value(at, depth)
            if key == "<<" and getattr(event, "style", "") is None:  # in quotes it is an ordinary key
                merged |= _merged(event, value)
            elif not isinstance(key, str):
                raise _refusal(event, f"a key must be a string, found {str(key)[:50]}; write it in quotes")
            elif key in own:
                raise _refusal(event, f"key {key[:50]!r} given twice")
            else:
                own[key] = value
        return merged | own, at + 1


def _merged(event: Any, value: Any) -> dict[str, Any]:
    """The mapping merged by `<<: value`. If several mappings have a key, the first one takes precedence."""
    mappings = value if isinstance(value, list) else [value]
    if not all(isinstance(mapping, dict) for mapping in mappings):
        raise _refusal(event, "<< merges a mapping, or a list of mappings")
    return {key: value for mapping in reversed(mappings) for key, value in mapping.items()}


def _scalar(event: yaml.ScalarEvent) -> Any:
    """The value of a scalar; quoted and block scalars are strings."""
    text = event.value
    if UNUSABLE.search(text):
        raise _refusal(event, "NUL characters and lone surrogates are not read")
    if event.style is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    for pattern, number in _NUMBERS:
        if pattern.fullmatch(text):
            most = DIGITS - DIGITS // 5 if text.startswith("0x") else DIGITS  # hexadecimal ones are written as decimal
            if len(text) > most:
                raise _refusal(event, f"a number of {len(text):,} characters; at most {most} are read")
            return number(text)
    return text


def parse_yaml(text: str, *, file: object = None) -> Any:
    """The data in a YAML text. Raises SpecError with file, line and column for anything but plain data.

    >>> parse_yaml("{macs: 400_000, study: off, lr: 1e-3}")
    {'macs': 400000, 'study': 'off', 'lr': 0.001}
    """
    if len(text) > CHARACTERS:
        raise SpecError(f"not readable as YAML: more than {CHARACTERS:,} characters", file=file)
    try:
        return _Document(text).data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = str(error.problem or error.context)[:200]
        raise SpecError(f"{where}not readable as YAML: {problem}", file=file) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise SpecError(f"not readable as YAML: {' '.join(str(error).split())}", file=file) from None


def read_yaml(path: Path) -> Any:
    """`parse_yaml` of a file. Also raises SpecError for a missing, binary or very large file."""
    try:
        with open(regular(path), encoding="utf-8") as file:
            text = file.read(CHARACTERS + 1)
    except FileNotFoundError:
        raise SpecError("no such file", file=path) from None
    except (OSError, ValueError) as error:  # not UTF-8, or a NUL in the path
        raise SpecError(f"not readable: {error}", file=path) from None
    return parse_yaml(text, file=path)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes any string that a reader of YAML 1.1 or 1.2 would read as another type."""


# SafeDumper covers YAML 1.1 as read by PyYAML. These are other readers' booleans and number-like strings.
_Dumper.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^[yYnN]$"), list("yYnN"))
_NUMBER_LIKE = re.compile(r"^[-+]?[.0-9_][0-9a-fA-F_.:oOxX+-]*$")
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER_LIKE, list("-+._0123456789"))


def _represent(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None if text.replace("\n", "").isprintable() else '"'  # with escapes: readers differ on odd line breaks
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent)


def dump_yaml(value: Any) -> str:
    """YAML with keys in the order given and short sequences on one line; every YAML reader reads the same value back.

    >>> dump_yaml({"study": "off", "split": [1, 2]})
    "study: 'off'\\nsplit: [1, 2]\\n"
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
