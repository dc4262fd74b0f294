"""The base of every mapping that is read from YAML: a truth value is no number.

pydantic takes `mixup: true` for 1.0 and `warmup: yes` for one epoch, in silence. Here they are mistakes.
All else that it converts without a loss stays: 3.0 is a whole number, and so is a quoted 3.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field, ValidationInfo, field_validator


def printable(text: str) -> str:
    """The text itself. Raises ValueError for what a terminal obeys, what breaks a heading, or is no UTF-8."""
    if not text.isprintable():
        raise ValueError("expected text of one line, without control characters")
    return text


Line = Annotated[str, Field(max_length=300), AfterValidator(printable)]  # a name that others have given to something
PLAIN = {int, float, str, type(None), ...}


class Keys(BaseModel):
    """A pydantic model whose numbers are numbers.

    >>> class Workers(Keys):
    ...     cpu: int = 1
    >>> Workers(cpu=True)
    Traceback (most recent call last):
    pydantic_core._pydantic_core.ValidationError: ...
    """

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        wanted = _number(cls, info.field_name)
        if wanted is not None and _has_truth_value(value):
            raise ValueError(f"expected {wanted}")
        return value


@cache  # genomes are validated by the thousand
def _number(model: type[BaseModel], field: str) -> str | None:
    """`a number` or `a whole number` for a field that takes numbers; None for any other.

    Parts of a mapping have fields of their own.
    """
    leaves = _leaves(model.model_fields[field].annotation)
    if not leaves & {int, float} or not leaves <= PLAIN:
        return None
    return "a number" if float in leaves else "a whole number"


def _has_truth_value(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return isinstance(value, bool) or any(map(_has_truth_value, inner))


def _leaves(annotation: Any) -> set[Any]:
    """The types that an annotation is made of; of a Literal those of its values."""
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if get_origin(annotation) is Annotated:
        return _leaves(get_args(annotation)[0])
    inner = {leaf for each in get_args(annotation) for leaf in _leaves(each)}
    return inner or {annotation}
