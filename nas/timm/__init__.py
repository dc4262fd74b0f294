"""The interface to timm: models with timm's methods, presets in timm's registry, conversion of timm's models.

    import nas.timm, timm
    timm.create_model("lavit_t", features_only=True)
    nas.timm.from_timm(timm.create_model("deit_tiny_patch16_224")).genome

The presets are registered whenever timm is imported, before or after this package (nas/import_hook.py). The package
itself does not import timm: what needs it is loaded on first use.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.timm.back import to_timm as to_timm
    from nas.timm.convert import from_timm as from_timm
    from nas.timm.donor import inherit as inherit
    from nas.timm.face import TimmModel as TimmModel
    from nas.timm.face import build as build

_HOME = {
    "TimmModel": "nas.timm.face",
    "build": "nas.timm.face",
    "from_timm": "nas.timm.convert",
    "to_timm": "nas.timm.back",
    "inherit": "nas.timm.donor",
}
__all__ = ["TimmModel", "build", "from_timm", "inherit", "to_timm"]
if "timm" in sys.modules:  # imported past the hook
    importlib.import_module("nas.timm.registry").register()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
        return globals()[name]
    raise AttributeError(f"module 'nas.timm' has no attribute {name!r}")
