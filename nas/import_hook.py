"""Importing timm registers the presets there, so that `import nas, timm`, in either order, makes them timm's models.

This takes a hook, because `import nas` must stay instant and so cannot import timm and torch itself.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


def install() -> None:
    """Register the presets now if timm is imported already, otherwise right after timm is."""
    if "timm" in sys.modules:
        _register()
    else:
        sys.meta_path.insert(0, TimmFinder())


class TimmFinder(MetaPathFinder):
    """Finds the top-level timm as the other finders do, and has the presets registered once timm's code has run."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "timm":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_follow(module: ModuleType) -> None:
                execute(module)
                _register()

            spec.loader.exec_module = execute_and_follow  # type: ignore[method-assign]
        return spec


def _register() -> None:
    importlib.import_module("nas.timm.registry").register()
