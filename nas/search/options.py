"""Options of a plug-in named in a space: `sampler: tpe`, or `sampler: {name: tpe, startup: 4}`.

Each plug-in declares its options as a pydantic model, `Options`. The section of a space file is validated by the named
plug-in's model, so an option of another plug-in is an error with its key path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Union

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, TypeAdapter, ValidationError, create_model
from pydantic_core import CoreSchema

from nas.errors import SpaceError, SpecError, from_pydantic, nearest, shown
from nas.keys import Keys
from nas.registry import Registry


class PluginOptions(Keys):
    """`name` is the plug-in's. Subclasses add the options, with defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str = Field(description="under which it is registered")


@dataclass(frozen=True)
class Named:
    """The JSON schema of a section that names a plug-in: a name, or the options of one. Worked out when asked for."""

    registry: Registry[Any]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        if handler.mode == "serialization":  # not what one writes
            return handler(schema)
        options = [
            create_model(f"{self.registry.kind}_{name}", __base__=member.Options, name=(Literal[name], ...))  # type: ignore[arg-type]
            for name, member in self.registry.items()
        ]
        written = Union[Literal[tuple(self.registry)], *options]  # type: ignore[valid-type]
        return handler(TypeAdapter(written).core_schema)  # type: ignore[arg-type]


def parse_options(registry: Registry[Any], given: Any, *, default: str) -> Any:
    """The options of the plug-in named in a section (`default` if none is).

    Raises SpaceError with the key path below the section.

    >>> parse_options(SAMPLERS, {"name": "tpe", "startup": 4}, default="tpe").startup
    4
    """
    if isinstance(given, PluginOptions):
        return given
    section = {"name": given} if isinstance(given, str) else given
    if not isinstance(section, dict):
        raise SpaceError(f"expected the name of a {registry.kind}, or a mapping with `name:`, found {shown(given)}")
    section = {"name": default} | section
    name = str(section["name"])
    try:
        options = registry[name].Options
    except SpecError as error:
        raise SpaceError(error.message, path="name") from None
    for key in section:
        if key not in options.model_fields:
            allowed = options.model_fields.keys() - {"name"}
            hint = nearest(key, allowed) if allowed else "it has no options"
            raise SpaceError(f"the {registry.kind} {name} takes no {shown(key)}; {hint}", path=str(key))
    try:
        return options.model_validate(section)
    except ValidationError as error:
        raise from_pydantic(error, options, kind=SpaceError) from None
