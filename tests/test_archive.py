from __future__ import annotations

import io

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from nas.archive import read_archive

CONTENT = {"rows": [1, 2], "weight": torch.arange(64.0), "bias": torch.ones(3, dtype=torch.float16)}


def _archive() -> bytes:
    buffer = io.BytesIO()
    torch.save(CONTENT, buffer)
    return buffer.getvalue()


BLOB = _archive()


def _is_whole(content: dict) -> bool:
    tensors = all(torch.equal(content[name], CONTENT[name]) for name in ("weight", "bias"))
    return content.keys() == CONTENT.keys() and content["rows"] == CONTENT["rows"] and tensors


@example(BLOB.rfind(b"archive/data/0") - 8, 0x10)  # the attributes of the entry in the directory at the end
@given(st.integers(0, len(BLOB) - 1), st.integers(1, 255))
def test_a_byte_that_has_changed_changes_no_value(place: int, difference: int) -> None:
    damaged = bytearray(BLOB)
    damaged[place] ^= difference
    try:
        found = read_archive(bytes(damaged))
    except Exception:  # of many kinds, as its docstring says
        return
    assert _is_whole(found)


def test_an_archive_without_checksums_is_read() -> None:
    torch.serialization.set_crc32_options(False)
    try:
        blob = _archive()
    finally:
        torch.serialization.set_crc32_options(True)
    assert blob != BLOB and _is_whole(read_archive(blob))


def test_a_flipped_bit_of_a_tensor_is_named() -> None:
    assert _is_whole(read_archive(BLOB))
    damaged = bytearray(BLOB)
    damaged[BLOB.find(CONTENT["weight"].numpy().tobytes())] ^= 1
    with pytest.raises(ValueError, match=r"wrong checksum of .*/data/"):
        read_archive(bytes(damaged))
