"""Torch's archives (`torch.save`), whose bytes are checked before torch reads them.

torch writes a CRC-32 of everything in an archive, but does not look at it when it reads: a flipped bit in a tensor
would be believed.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any, BinaryIO

import torch

FOLDER = 0x10  # an attribute of DOS. In place of such an entry torch reads memory that nobody has written


def check_archive(file: BinaryIO) -> None:
    """Raise ValueError for an archive that is not what was written, as far as it has checksums.

    >>> check_archive(open("deit_tiny.pth", "rb"))
    """
    try:
        with zipfile.ZipFile(file) as archive:
            sums = any(entry.CRC for entry in archive.infolist())  # torch.serialization.set_crc32_options(False)
            damaged = archive.testzip() if sums else None
            folder = next((entry.filename for entry in archive.infolist() if entry.external_attr & FOLDER), None)
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from None
    if damaged is not None:
        raise ValueError(f"wrong checksum of {damaged}")
    if folder is not None:
        raise ValueError(f"{folder} is marked as a folder")


def read_archive(blob: bytes) -> Any:
    """The content of an archive without code, on the CPU. Damage raises errors of many kinds.

    >>> read_archive(Path("checkpoint.pt").read_bytes())["rows"]
    """
    check_archive(io.BytesIO(blob))
    return torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True)
