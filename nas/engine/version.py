"""The version of the files in a run directory. nas 0.1 wrote none, which counts as 1.

A later version may add keys, which have the old behaviour as their default; what an earlier nas would misread gets
another number, and is refused by it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.errors import RunError, shown

VERSION = 2


def check_version(content: dict[str, Any], file: Path) -> None:
    """Raise RunError for a file of a version that came after this one."""
    version = content.get("version", 1)
    if type(version) is not int or not 1 <= version <= VERSION:
        message = f"its format is version {shown(version)}, and this nas reads 1 to {VERSION}: use a newer nas"
        raise RunError(message, file=file)
