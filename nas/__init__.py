"""Neural-architecture search and ablations for efficient vision transformers.

    import nas
    found = nas.run_search("lavit_split", settings={"trials": 4})
    model, transform, class_names = nas.load("results/my_run/winners/w1-0007.yaml")
    nas.cost("deit_tiny").macs
    nas.plots.front("my_run")

The public face is what `__all__` lists, and the module `nas.plots`. It is imported on first use, so that
`import nas` and `nas --help` are instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nas import import_hook

if TYPE_CHECKING:
    from nas import plots as plots
    from nas.ablation import load_ablation as load_ablation
    from nas.api import best_winner as best_winner
    from nas.api import describe_data as describe_data
    from nas.api import diagnose as diagnose
    from nas.api import export as export
    from nas.api import load_data as load_data
    from nas.api import measure_latency as measure_latency
    from nas.api import preview_search as preview_search
    from nas.api import retrain_winners as retrain_winners
    from nas.api import run_ablation as run_ablation
    from nas.api import run_conversion as run_conversion
    from nas.api import run_search as run_search
    from nas.api import train_genome as train_genome
    from nas.api import write_report as write_report
    from nas.errors import SpecError as SpecError
    from nas.genome import Genome as Genome
    from nas.genome import list_presets as list_presets
    from nas.genome import load_genome as load_genome
    from nas.model import deploy as deploy
    from nas.plugins import load_plugins as load_plugins
    from nas.profiling import cost as cost
    from nas.profiling import throughput as throughput
    from nas.search import list_spaces as list_spaces
    from nas.search import load_space as load_space
    from nas.serve import load as load
    from nas.serve import predict as predict
    from nas.timm import build as build
    from nas.timm import from_timm as from_timm
    from nas.timm import inherit as inherit
    from nas.timm import to_timm as to_timm

__version__ = "0.2.0.dev0"

_HOME = {
    "run_search": "nas.api",
    "preview_search": "nas.api",
    "measure_latency": "nas.api",
    "run_ablation": "nas.api",
    "run_conversion": "nas.api",
    "retrain_winners": "nas.api",
    "train_genome": "nas.api",
    "describe_data": "nas.api",
    "diagnose": "nas.api",
    "write_report": "nas.api",
    "export": "nas.api",
    "best_winner": "nas.api",
    "load": "nas.serve",
    "predict": "nas.serve",
    "build": "nas.timm",
    "from_timm": "nas.timm",
    "to_timm": "nas.timm",
    "inherit": "nas.timm",
    "deploy": "nas.model",
    "cost": "nas.profiling",
    "throughput": "nas.profiling",
    "load_data": "nas.api",
    "Genome": "nas.genome",
    "load_genome": "nas.genome",
    "list_presets": "nas.genome",
    "load_space": "nas.search",
    "list_spaces": "nas.search",
    "load_ablation": "nas.ablation",
    "load_plugins": "nas.plugins",
    "SpecError": "nas.errors",
}
__all__ = sorted(_HOME)
import_hook.install()


def __getattr__(name: str) -> Any:
    if name in _HOME:
        home = importlib.import_module(_HOME[name])
        globals()[name] = getattr(home, name)
        return globals()[name]
    if name == "plots":
        return importlib.import_module("nas.plots")
    raise AttributeError(f"module 'nas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "plots"})
