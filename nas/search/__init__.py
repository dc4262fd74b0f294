"""Search: a space in YAML, suggestions from samplers, hard budgets, and the Pareto front.

Optuna is imported by the samplers that need it, not before; Ray by the engine when a search runs.
"""

from nas.search.anytime import anytime
from nas.search.pareto import front_of, hypervolume, non_dominated
from nas.search.run import SearchResult, search
from nas.search.spec import SearchSpec, list_spaces, load_space

__all__ = [
    "SearchResult",
    "SearchSpec",
    "anytime",
    "front_of",
    "hypervolume",
    "list_spaces",
    "load_space",
    "non_dominated",
    "search",
]
