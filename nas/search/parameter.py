"""A searched parameter: its values, and the condition under which it is active.

    choice: [softmax, less]                      one of these values or mappings
    int: [1, 8]                                  whole numbers, both ends included; `step: 2`, `log: true`
    float: [1e-4, 1e-1], log: true               real numbers, both ends included; `step: 0.1`
    when: {stages.0.core: linear_angular}        active only if another parameter has this value (or one of a list)

Braces in a path make independent parameters: `stages.{0,1}.layers.{0..3}.core` expands to eight. The same group in
`when` is expanded alike. A `*` in a path ties parameters: one value for all stages or layers.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import ConfigDict, Field, model_validator

from nas.errors import SpaceError, shown
from nas.keys import Keys

Integer: TypeAlias = int  # in the class below, `int` and `float` are keys
Real: TypeAlias = float
Value: TypeAlias = Any  # plain data: an item of a choice, or a number

MAX_VALUES = 2000  # of one parameter
MAX_PATHS = 1000  # parameters that the braces of one path make


class ParameterSpec(Keys):
    """The entry of a path in a space file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    choice: tuple[Value, ...] | None = Field(None, min_length=1, description="one of these values")
    int: tuple[Integer, Integer] | None = Field(None, description="[low, high], whole numbers, both ends included")
    float: tuple[Real, Real] | None = Field(None, description="[low, high], real numbers, both ends included")
    step: Real | None = Field(None, gt=0, description="between values of int or float")
    log: bool = Field(False, description="uniform in the logarithm")
    when: dict[str, Value] = Field(
        {}, description="active only where another parameter has this value, or one of a list"
    )

    @model_validator(mode="after")
    def _one_kind(self) -> ParameterSpec:
        given = [kind for kind in ("choice", "int", "float") if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise SpaceError(f"give one of `choice: [...]`, `int: [low, high]`, `float: [low, high]`; found {found}")
        if self.choice is not None:
            if self.step or self.log:
                raise SpaceError("`step` and `log` belong to `int` and `float`")
            labels = [label(value) for value in self.choice]
            twice = [text for text in labels if labels.count(text) > 1]
            if twice:
                raise SpaceError(f"the choice {twice[0]} is given twice", path="choice")
            return self
        low, high = self.int or self.float or (0, 0)
        if low >= high:
            raise SpaceError(f"expected [low, high] with low < high, found [{low}, {high}]", path=given[0])
        if self.log and low <= 0:
            raise SpaceError(f"a logarithmic range starts above 0, found {low}", path=given[0])
        if self.log and self.step:
            raise SpaceError("`step` and `log` exclude each other", path="step")
        if self.int and self.step and self.step != round(self.step):
            raise SpaceError(f"the step between whole numbers is a whole number, found {self.step}", path="step")
        step = self.step or (1 if self.int else math.inf)
        if high - low >= MAX_VALUES * step:  # a space tries every value before the search
            raise SpaceError(f"a range has at most {MAX_VALUES} values: give a larger `step`", path=given[0])
        return self


@dataclass(frozen=True)
class Parameter:
    """A parameter after brace expansion, at one `path` of the genome.

    `values` lists all possible values, in order, or is None for a continuous range `low` to `high`. `conditions` are
    pairs: path of another parameter, and its values for which this one is active.
    """

    path: str
    values: tuple[Value, ...] | None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    numeric: bool = False
    conditions: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    def active(self, chosen: dict[str, Value]) -> bool:
        """Whether the parameter is active, given the values chosen for earlier parameters."""
        return all(path in chosen and chosen[path] in allowed for path, allowed in self.conditions)

    def at(self, u: float) -> Value:
        """The value at `u` in [0, 1): uniform u gives uniform values (log-uniform with `log`)."""
        if self.values is not None and not (self.numeric and self.log):
            return self.values[min(int(u * len(self.values)), len(self.values) - 1)]
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = low + u * (high - low)
        value = min(max(math.exp(value) if self.log else value, self.low), self.high)
        return value if self.values is None else round(value)

    def holds(self, value: Value) -> bool:
        """Whether the parameter can take this value."""
        if self.values is not None:
            return value in self.values
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high


def label(value: Value) -> str:
    """A value as text, used for mappings in tables and samplers."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def expand(path: str, spec: ParameterSpec) -> list[Parameter]:
    """The parameters that an entry of a space file expands to. Raises SpaceError."""
    groups = re.findall(r"\{[^{}]*\}", path)
    fillings = [_members(group) for group in groups]
    if math.prod(map(len, fillings)) > MAX_PATHS:
        raise SpaceError(f"the braces make more than {MAX_PATHS} parameters of this path")
    made = []
    for chosen in itertools.product(*fillings):
        pairs = list(zip(groups, map(str, chosen), strict=True))
        conditions = []
        for other, value in spec.when.items():
            filled = _filled(other, pairs)
            if "{" in filled:
                raise SpaceError(f"the braces of {shown(other)} do not appear in the parameter's own path", path="when")
            conditions.append((filled, tuple(value) if isinstance(value, list) else (value,)))
        made.append(_parameter(_filled(path, pairs), spec, tuple(conditions)))
    return made


def _parameter(path: str, spec: ParameterSpec, conditions: tuple[tuple[str, tuple[Value, ...]], ...]) -> Parameter:
    if spec.choice is not None:
        return Parameter(path, spec.choice, conditions=conditions)
    if spec.int is not None:
        low, high = spec.int
        values = tuple(range(low, high + 1, round(spec.step or 1)))
        return Parameter(path, values, low, values[-1], spec.log, True, conditions)
    assert spec.float is not None
    bottom, top = spec.float
    if spec.step is None:
        return Parameter(path, None, bottom, top, spec.log, True, conditions)
    steps = tuple(round(bottom + i * spec.step, 12) for i in range(int((top - bottom) / spec.step + 1e-9) + 1))
    return Parameter(path, steps, bottom, steps[-1], False, True, conditions)


def _filled(path: str, pairs: list[tuple[str, str]]) -> str:
    """Replace each group by its member; equal groups are replaced from left to right."""
    for group, member in pairs:
        path = path.replace(group, member, 1)
    return path


def _members(group: str) -> Sequence[str | int]:
    body = group[1:-1]
    span = re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", body)
    members = [member.strip() for member in body.split(",")]
    if span and int(span[1]) <= int(span[2]):
        return range(int(span[1]), int(span[2]) + 1)  # not a list: `expand` bounds its length first
    if not all(re.fullmatch(r"\w+", member) for member in members):
        raise SpaceError(f"expected braces like {{0,1}} or {{0..3}}, found {group}")
    return members
