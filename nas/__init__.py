"""Neural-architecture search and ablations for efficient vision transformers.

    import nas
    model = nas.build("results/my_run/winners/w1.yaml", weights=True)
    nas.cost("deit_tiny").macs

The public face is what `__all__` lists; it is imported on first use, so that `import nas` and `nas --help` are instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nas import import_hook

if TYPE_CHECKING:
    from nas.cost import cost as cost
    from nas.cost import throughput as throughput
    from nas.errors import SpecError as SpecError
    from nas.genome import Genome as Genome
    from nas.genome import list_presets as list_presets
    from nas.genome import load_genome as load_genome
    from nas.model import deploy as deploy
    from nas.timm import build as build
    from nas.timm import from_timm as from_timm

__version__ = "0.1.0"

_HOME = {
    "build": "nas.timm",
    "deploy": "nas.model",
    "from_timm": "nas.timm",
    "cost": "nas.cost",
    "throughput": "nas.cost",
    "Genome": "nas.genome",
    "load_genome": "nas.genome",
    "list_presets": "nas.genome",
    "SpecError": "nas.errors",
}
__all__ = ["Genome", "SpecError", "build", "cost", "deploy", "from_timm", "list_presets", "load_genome", "throughput"]
import_hook.install()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        home = importlib.import_module(_HOME[name])
        globals()[name] = home if name == "cost" else getattr(home, name)  # nas.cost is a package that can be called
        return globals()[name]
    raise AttributeError(f"module 'nas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
