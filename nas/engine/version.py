"""The version of the files in a run directory. nas 0.1 wrote none, which counts as 1.

New keys that default to the old behaviour keep the version. A change that an earlier nas would misread increments it,
and an earlier nas refuses such files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.errors import RunError, shown

VERSION = 2


def check_version(content: dict[str, Any], file: Path) -> None:
    """Raise RunError for a file of a newer version."""
    version = content.get("version", 1)
    if type(version) is not int or not 1 <= version <= VERSION:
        message = f"its format is version {shown(version)}, and this nas reads 1 to {VERSION}: use a newer nas"
        raise RunError(message, file=file)
