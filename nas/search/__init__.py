"""Search: a space in YAML, suggestions from samplers, hard budgets, and the Pareto front.

Each name is imported on first use: a report needs the front, and neither data nor training. Optuna is imported by the
samplers that need it, Ray by the engine when a search runs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.search.pareto import front_of, hypervolume, non_dominated
    from nas.search.run import SearchResult, search
    from nas.search.spec import SearchSpec, list_spaces, load_space

__all__ = [
    "SearchResult",
    "SearchSpec",
    "front_of",
    "hypervolume",
    "list_spaces",
    "load_space",
    "non_dominated",
    "search",
]
_HOME = {"front_of": "pareto", "hypervolume": "pareto", "non_dominated": "pareto"}
_HOME |= {"SearchResult": "run", "search": "run", "SearchSpec": "spec", "list_spaces": "spec", "load_space": "spec"}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"nas.search.{_HOME[name]}"), name)
    raise AttributeError(f"module 'nas.search' has no attribute {name!r}")
