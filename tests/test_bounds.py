"""Every whole number in a file has a largest value, since what it counts may be made before anything looks at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from nas.ablation.spec import Ablation
from nas.convert.spec import ConversionSpec
from nas.errors import SpecError
from nas.genome import Genome, load_genome
from nas.search import SearchSpec
from nas.search.samplers import SAMPLERS
from nas.search.schedulers import SCHEDULERS
from nas.train import Training

ELSEWHERE = (
    "ParameterSpec.properties.int",  # at most 2,000 values
    "ablation.properties.seeds",  # at most 10,000
    "Depthwise__Config.properties.kernel",  # at most 31, around a validator that the schema does not show
)
MODELS: dict[str, type[BaseModel]] = {
    "search": SearchSpec,
    "ablation": Ablation,
    "conversion": ConversionSpec,
    "genome": Genome,
    "training": Training,
    **{name: sampler.Options for name, sampler in SAMPLERS.items()},
    **{name: scheduler.Options for name, scheduler in SCHEDULERS.items()},
}


def endless(schema: Any, path: str) -> Iterator[str]:
    if isinstance(schema, dict):
        if schema.get("type") == "integer" and not {"maximum", "const", "enum"} & schema.keys():
            yield path
        for key, value in schema.items():
            yield from endless(value, f"{path}.{key}")
    elif isinstance(schema, list):
        for value in schema:
            yield from endless(value, path)


@pytest.mark.parametrize("name", MODELS)
def test_whole_numbers_end(name: str) -> None:
    found = endless(TypeAdapter(MODELS[name]).json_schema(), name)
    assert [path for path in found if not any(known in path for known in ELSEWHERE)] == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("workers", {"cpu": 10**6}),
        ("workers", {"processes": 10**5}),
        ("training", {"augment": {"repeats": 10**8}}),
        ("training", {"accumulate": 10**22}),
        ("training", {"batch_size": 10**20}),
        ("training", {"epochs": 10**14}),
        ("sampler", {"name": "cost_aware", "pool": 10**11}),
        ("seed", 10**20),
    ],
)
def test_what_is_too_large_is_one_message(key: str, value: Any) -> None:
    spec = {"base": "lavit_digits", "parameters": {"stages.0.split": {"int": [1, 2]}}}
    with pytest.raises(SpecError, match=rf"^{key}[\w.]*: expected at most [0-9,]+, found 1"):
        SearchSpec.parse(spec | {key: value})


def test_a_kernel_ends() -> None:
    with pytest.raises(SpecError, match="expected at most 31, found 33"):
        load_genome("lavit_digits").edit({"stages.0.local": {"block": "depthwise", "kernel": 33}})
