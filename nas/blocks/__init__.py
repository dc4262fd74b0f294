"""The block library: every file of this folder registers the blocks it defines."""

from __future__ import annotations

import importlib
import pkgutil

from nas.blocks.base import Auxiliary, Block, BlockConfig, Core, Cost, Local, Site, registered
from nas.blocks.scores import Scores
from nas.blocks.spec import spec_of

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["Auxiliary", "Block", "BlockConfig", "Core", "Cost", "Local", "Scores", "Site", "registered", "spec_of"]
