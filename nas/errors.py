"""What a user sees when a spec is wrong: one message with file, key path, what was found, what is allowed.

Every mistake that a user can make ends in a `SpecError` (a ValueError): the command line prints its text and leaves
with code 2, a notebook shows it as the last line of a traceback. Everything else is a bug and keeps its traceback.

    >>> raise SpecError("heads 5 do not divide width 96", file="g.yaml", path="stages.0.heads")
    Traceback (most recent call last):
    nas.errors.SpecError: g.yaml: stages.0.heads: heads 5 do not divide width 96
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from nas.credentials import hidden, masked

QUOTED = 200  # characters of what was found that a message quotes at most
LONGEST = 2000  # characters of a message
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # a terminal would obey them


class SpecError(ValueError):
    """A mistake in something the user wrote. `file` and `path` (dotted key path) say where, when known."""

    def __init__(self, message: str, *, file: object = None, path: str = ""):
        # No secret of a URL and no page of text, whoever quotes it.
        self.message, self.file, self.path = _clipped(masked(message), LONGEST), file, _clipped(path, QUOTED)
        where = (_CONTROL.sub(_escaped, str(part)) for part in (file, self.path) if part)
        said = _CONTROL.sub(lambda found: found[0] if found[0] == "\n" else _escaped(found), self.message)
        super().__init__(": ".join([*map(masked, where), *([said] if said else [])]))

    def within(self, file: object = None, path: str = "") -> SpecError:
        """The same mistake seen from further out: `path` is put before its own, `file` fills in if unknown."""
        joined = ".".join(part for part in (path, self.path) if part)
        return type(self)(self.message, file=self.file or file, path=joined)


class GenomeError(SpecError):
    """A genome that does not describe a model."""


class SpaceError(SpecError):
    """A search space or ablation that cannot be run."""


class DataError(SpecError):
    """A dataset that is missing, unreadable or unfit for the genome."""


class BudgetError(SpecError):
    """A budget that nothing in the space can meet."""


class RunError(SpecError):
    """A run directory that cannot be used: busy, unwritable, or of another spec."""


def shown(value: object) -> str:
    """A value as a message quotes it: its repr without passwords, at most 200 characters of it.

    >>> shown("lavit_digits")
    "'lavit_digits'"
    """
    return _clipped(masked(repr(hidden(value))), QUOTED)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def text_of(error: BaseException) -> str:
    """What an exception says, as UTF-8 takes it. That of a plug-in's own class may fail to say anything."""
    try:
        return encodable(str(error))
    except (Exception, SystemExit):
        return "its own message cannot be made"


def first_line(error: BaseException) -> str:
    """The first line of what an exception says."""
    return next(iter(text_of(error).strip().splitlines()), "no message")


def encodable(text: str) -> str:
    """A text of another program, as UTF-8 takes it: the name of a file may have half a character in it."""
    return text.encode(errors="backslashreplace").decode()


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out. CUDA raises its own class or only says so in text, as torch does of the CPU's; CUDA's
    libraries say ALLOC_FAILED."""
    words = ("out of memory", "ALLOC_FAILED", "can't allocate memory")
    by_words = isinstance(error, RuntimeError) and any(word in text_of(error) for word in words)
    return by_words or type(error).__name__ in ("OutOfMemoryError", "MemoryError")


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def nearest(word: object, allowed: Iterable[object]) -> str:
    """`allowed: a, b, c (did you mean b?)`, the ending of most messages about a wrong name."""
    names = sorted(str(name) for name in allowed)
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    return f"allowed: {', '.join(names)}" + (f" (did you mean {close[0]}?)" if close else "")


def from_pydantic(error: ValidationError, fields: type, *, kind: type[SpecError], file: object = None) -> SpecError:
    """One mistake of a pydantic error as a SpecError, with the nearest right spelling of an unknown key.

    `fields` is the model that was validated; the key path leads from it to the model that refused the key.
    """
    mistakes = error.errors()
    # A misspelt required key is two mistakes, and the unknown key is the one that names the word to change.
    first = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    first = _of_union(first, mistakes, fields)
    cause = first.get("ctx", {}).get("error")
    path = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("function-", "tagged-")))
    if isinstance(cause, SpecError):  # raised by a validator of ours, which knows the key path below its own
        return kind(cause.message, file=file, path=".".join(p for p in (path, cause.path) if p))
    if first["type"] == "extra_forbidden":
        owner = _owner(fields, first["loc"][:-1])
        hint = "; " + nearest(first["loc"][-1], owner) if owner else ""
        return kind(f"unknown key{hint}", file=file, path=path)
    return kind(wording(first), file=file, path=path)


# What a value has to be, by pydantic's type of mistake; its own wording is that of a Python programmer.
_EXPECTED = {
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    "finite_number": "a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("string_type", "string_unicode"), "text"),
    **dict.fromkeys(("list_type", "tuple_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "a mapping"),
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge:,}",
    "greater_than": "more than {gt:,}",
    "less_than_equal": "at most {le:,}",
    "less_than": "less than {lt:,}",
    "too_short": "a length of at least {min_length}",
    "too_long": "a length of at most {max_length}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "none_required": "null",
}


def wording(mistake: ErrorDetails) -> str:
    """One mistake of a pydantic error in our words: what is expected, and what was found.

    >>> wording({"type": "greater_than_equal", "loc": ("trials",), "msg": "", "input": 0, "ctx": {"ge": 1}})
    'expected at least 1, found 0'
    """
    if mistake["type"] == "missing":
        return "missing: this key is required"
    text = _EXPECTED.get(mistake["type"])
    if text is None:
        text = mistake["msg"].removeprefix("Value error, ")
    else:
        limits = {name: _plain(value) for name, value in mistake.get("ctx", {}).items()}
        text = f"expected {text.format_map(limits)}"
    return f"{text}, found {shown(mistake['input'])}"


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _of_union(first: ErrorDetails, mistakes: list[ErrorDetails], fields: type) -> ErrorDetails:
    """Where a key takes one of several types, the mistake of the type that fits best, at the key's own path.

    Pydantic reports one for each type, at `seeds.int` and `seeds.tuple[int, ...].1`; the longest path got furthest.
    """
    key, *below = first["loc"] or ("",)
    annotation = getattr(getattr(fields, "model_fields", {}).get(key), "annotation", None)
    of_several = get_origin(annotation) in (Union, UnionType) and len({*get_args(annotation)} - {type(None)}) > 1
    if not below or not of_several:
        return first
    best = max((each for each in mistakes if each["loc"][:1] == (key,)), key=lambda each: len(each["loc"]))
    return ErrorDetails(**best | {"loc": (key, *best["loc"][2:])})


def _owner(model: object, location: tuple[int | str, ...]) -> list[str]:
    """The field names of the pydantic model that sits at `location` below `model`, or [] where it is not certain."""
    for part in location:
        field = getattr(model, "model_fields", {}).get(part)
        if field is not None:
            model = field.annotation
        while not hasattr(model, "model_fields"):  # step through list[X], dict[str, X], X | None
            inner = [a for a in getattr(model, "__args__", ()) if a not in (type(None), ..., str)]
            if len(inner) != 1:
                return []
            model = inner[0]
    return list(getattr(model, "model_fields", {}))
