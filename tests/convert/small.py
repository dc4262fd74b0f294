"""A conversion of seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nas.convert.spec import ConversionSpec


def spec(parent: Path, **keys: Any) -> ConversionSpec:
    small = {
        "start": str(parent),
        "library": {"rounds": 2, "images": 128},
        "scored": 150,
        "tried": 4,
        "points": 2,
        "compare": ["random", "all"],
        "training": {"epochs": 1, "limit": 400},
        "workers": {"count": 1},  # which takes longer to start than to do all of this
    }
    return ConversionSpec.parse(small | keys).only(["reuse", "linear"])
