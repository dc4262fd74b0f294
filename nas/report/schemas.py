"""The files that a user writes, by kind. `nas schema` prints the JSON Schema of one, and the reference of the docs
(docs/reference.py) lists the keys of all.

Plug-ins that are loaded take part: their blocks, samplers and schedulers are valid names.

    >>> sorted(SCHEMAS["space"].model_json_schema()["required"])
    ['parameters']
"""

from __future__ import annotations

from pydantic import BaseModel

from nas.ablation.spec import Ablation
from nas.convert.spec import ConversionSpec
from nas.genome import Genome
from nas.search import SearchSpec

SCHEMAS: dict[str, type[BaseModel]] = {
    "genome": Genome,
    "space": SearchSpec,
    "ablation": Ablation,
    "conversion": ConversionSpec,
}
