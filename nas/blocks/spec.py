"""A block as a genome writes it: `less`, or `{block: less, transform: conv}`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

from pydantic import GetJsonSchemaHandler, PlainSerializer, PlainValidator, TypeAdapter, ValidationError
from pydantic_core import CoreSchema

from nas.blocks.base import BLOCKS, BlockConfig, Slot, registered
from nas.errors import GenomeError, from_pydantic, nearest, shown


@dataclass(frozen=True)
class _Written:
    """The JSON schema of a block of `slot`, worked out when it is asked for: plug-ins may have joined by then."""

    slot: Slot

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        if handler.mode == "serialization":  # not what one writes
            return handler(schema)
        blocks = registered(self.slot)
        written = Union[Literal[tuple(blocks)], *(cls.Config for cls in blocks.values())]  # type: ignore[valid-type]
        return handler(TypeAdapter(written).core_schema)  # type: ignore[arg-type]


def spec_of(slot: Slot) -> Any:
    """The pydantic type of a block of `slot` in a genome: `less` or `{block: less, transform: conv}`."""

    def validate(value: Any) -> BlockConfig:
        if isinstance(value, BlockConfig):
            value = value.model_dump()
        if isinstance(value, str):
            value = {"block": value}
        if not isinstance(value, dict) or not isinstance(value.get("block"), str):
            raise GenomeError(f"expected a {slot} block, as a name or a mapping with `block:`, found {shown(value)}")
        blocks = BLOCKS[slot]
        if value["block"] not in blocks:
            raise GenomeError(f"unknown {slot} block {shown(value['block'])}; {nearest(value['block'], blocks)}")
        fields = blocks[value["block"]].Config
        try:
            return fields.model_validate(value)
        except ValidationError as error:
            raise from_pydantic(error, fields, kind=GenomeError) from None

    def shorten(value: BlockConfig) -> Any:
        changed = value.model_dump(mode="json", exclude_defaults=True) | {"block": value.block}
        return value.block if len(changed) == 1 else {"block": value.block} | changed

    return Annotated[BlockConfig, PlainValidator(validate), _Written(slot), PlainSerializer(shorten)]
