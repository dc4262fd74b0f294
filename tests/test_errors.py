"""Messages: what a terminal would obey is written out."""

from __future__ import annotations

import pytest

from nas.errors import SpecError, is_memory, shown, wording


def test_no_name_of_a_file_moves_the_cursor() -> None:
    error = SpecError("two\nlines \x1b[2J", file="a\nnas: all is well\x1b]0;x\x07", path="stages\r.\u202eevil")
    assert str(error) == "a\\nnas: all is well\\x1b]0;x\\x07: stages\\r.\\u202eevil: two\nlines \\x1b[2J"
    assert str(SpecError("β ≤ ∞, 漢", file="ä b.yaml")) == "ä b.yaml: β ≤ ∞, 漢"


@pytest.mark.parametrize(
    ("kind", "limit", "text"),
    [
        ("less_than_equal", {"le": 2**63 - 1}, "expected at most 9,223,372,036,854,775,807, found 5"),
        ("less_than_equal", {"le": 1.0}, "expected at most 1, found 5"),
        ("greater_than", {"gt": 0.25}, "expected more than 0.25, found 5"),
    ],
)
def test_limits_are_written_in_full(kind: str, limit: dict[str, float], text: str) -> None:
    assert wording({"type": kind, "loc": ("x",), "msg": "", "input": 5, "ctx": limit}) == text


def test_memory_is_known_by_class_or_words() -> None:
    assert is_memory(MemoryError()) and is_memory(RuntimeError("CUDA error: out of memory"))
    assert is_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 256 bytes"))
    assert not is_memory(RuntimeError("shape mismatch")) and not is_memory(ValueError("out of memory"))


def test_what_is_quoted_has_a_length() -> None:
    assert len(shown("x" * 10**6)) == 200
