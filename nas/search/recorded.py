"""A search's spec as run.yaml has it: everything resolved, and brought up to date when an older one is read."""

from __future__ import annotations

from typing import Any

from nas.data import absolute
from nas.genome import Genome, load_genome
from nas.metrics import TARGET
from nas.search.samplers import SAMPLERS
from nas.search.schedulers import with_scheduler
from nas.search.spec import SearchSpec


def recorded(spec: SearchSpec, base: Genome) -> dict[str, Any]:
    """The spec as stored in run.yaml: with all defaults, except in the genome and the parameters.

    A table of another device is named as the copy that the run keeps.
    """
    record = spec.model_dump(mode="json")
    if spec.budget.table is not None:
        record["budget"]["table"] = TARGET
    record["base"] = base.model_dump(mode="json", exclude_defaults=True)
    for path, parameter in spec.parameters.items():
        record["parameters"][path] = parameter.model_dump(mode="json", exclude_defaults=True)
    record["data"] = absolute(spec.data)
    return record


def upgraded(spec: dict[str, Any]) -> dict[str, Any]:
    """A recorded spec with keys added since, at their defaults."""
    read = SearchSpec.parse(upgrade_spec(spec))
    assert read.base is not None  # a record has one, with a start as well
    return recorded(read, load_genome(read.base))


def upgrade_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec in a run.yaml of version 0.1, with the current keys, for comparison with a resuming search's spec.

    `halving` becomes `scheduler`. The sampler section held the options of all samplers; those of others are dropped.

    >>> upgrade_spec({"sampler": {"name": "gp", "startup": 4, "population": 8, "lag": 2}, "halving": None})
    {'sampler': {'name': 'gp', 'startup': 4, 'lag': 2}, 'scheduler': {'name': 'full'}}
    """
    spec = dict(spec)
    if "sampler" in spec:
        taken = SAMPLERS[spec["sampler"]["name"]].Options.model_fields
        spec["sampler"] = {key: value for key, value in spec["sampler"].items() if key in taken}
    if "halving" in spec:
        spec["scheduler"] = with_scheduler(spec)["scheduler"].model_dump(mode="json")
        del spec["halving"]
    return spec
