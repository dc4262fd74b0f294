"""What may stand in a layer of a trained model in place of its own attention, and the genomes that result.

    candidates:
      reuse:  {core: {block: less, transform: identity}}
      linear: {core: {block: linear_angular, centred: true}, local: {block: depthwise, dimensions: 2}}

A candidate has a core, and a local block if it replaces or adds one; without the key, the layer keeps its own. The
model's own attention is always there too, as `keep`. A candidate that makes no sense in a layer (`less` in the first
layer of a stage) is not offered there; one that makes none behind another candidate must not follow it (`clashes`).

Defaults: less-attention in the three forms that cost little, and linear-angular attention with centred keys, with and
without the depthwise residual, which none of the linear models in the literature is good without.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from pydantic import ConfigDict, Field, model_serializer

from nas.blocks import BlockConfig
from nas.errors import GenomeError
from nas.genome import Genome
from nas.genome.schema import CoreSpec, LocalSpec, StageSpec
from nas.keys import Keys

KEEP = "keep"
Place = tuple[str, str]  # layer, candidate
Assembly = dict[str, str]  # layer → candidate; layers that are not named keep their own attention


class Candidate(Keys):
    """A core, and a local block where the key is given; `local: null` removes the layer's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    core: CoreSpec = Field(description="in place of the layer's own")
    local: LocalSpec | None = Field(None, description="in place of the layer's own; null removes it, left out keeps it")

    @model_serializer(mode="wrap")
    def _as_given(self, handler: Any) -> Any:
        """A `local` that was not given stays so: null would remove the layer's own."""
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}

    def edits(self, path: str) -> dict[str, Any]:
        """As edits of a genome whose layers are listed one by one. path: of the layer's run."""
        keys = ["core", *(["local"] if "local" in self.model_fields_set else [])]
        return {f"{path}.{key}": _plain(getattr(self, key)) for key in keys}


DEFAULT = {
    name: Candidate.model_validate(value)
    for name, value in {
        "reuse": {"core": {"block": "less", "transform": "identity"}},
        "reuse_low_rank": {"core": {"block": "less", "transform": "low_rank", "rank": 8}},
        "reuse_conv": {"core": {"block": "less", "transform": "conv"}},
        "linear": {"core": {"block": "linear_angular", "centred": True}},
        "linear_local": {
            "core": {"block": "linear_angular", "centred": True},
            "local": {"block": "depthwise", "dimensions": 2},
        },
    }.items()
}


def listed(genome: Genome) -> Genome:
    """The same genome, and so the same hash, with every layer written out: `stages.0.layers.2` is a layer.

    >>> listed(load_genome("lavit_digits")).stages[0].layers[2].core.block
    'less'
    """
    stages = []
    for stage in genome.stages:
        data = stage.model_dump(mode="json", exclude=set(_SHORTHAND))
        runs = [run for _, run in stage.runs() for _ in range(run.repeat)]
        data["layers"] = [{slot: _plain(getattr(run, slot)) for slot in ("core", "auxiliary", "local")} for run in runs]
        stages.append(StageSpec.model_validate(data))
    return genome.model_copy(update={"stages": tuple(stages)}).edit({})


def assembled(genome: Genome, assembly: Assembly, candidates: Mapping[str, Candidate]) -> Genome:
    """The genome with the assembly's candidates in its layers. Raises GenomeError for one that makes no sense.

    genome: as from `listed`.

    >>> assembled(listed(genome), {"stages.0.layers.1": "reuse"}, DEFAULT).layout[0].layers[1].core.block
    'less'
    """
    edits: dict[str, Any] = {}
    for layer, name in assembly.items():
        edits |= {} if name == KEEP else candidates[name].edits(layer)
    return genome.edit(edits)


def offered(genome: Genome, candidates: Mapping[str, Candidate]) -> dict[str, list[str]]:
    """By layer, the candidates that make sense there while all other layers keep their attention, `keep` first.

    A candidate that gives the layer that it replaces, or what an earlier one gives, is left out.
    """
    found: dict[str, list[str]] = {}
    for stage in genome.layout:
        for layer in stage.layers:
            found[layer.name] = [KEEP]
            known = {genome.hash}
            for name in candidates:
                try:
                    changed = assembled(genome, {layer.name: name}, candidates)
                except GenomeError:
                    continue
                if changed.hash not in known:
                    known.add(changed.hash)
                    found[layer.name].append(name)
    return found


def clashes(
    genome: Genome, options: Mapping[str, Sequence[str]], candidates: Mapping[str, Candidate]
) -> Iterator[tuple[Place, Place]]:
    """Pairs of candidates of neighbouring layers that make no sense together. options: by layer, from `offered`.

    A clash of more layers (two that make no scores, then one that reuses some) shows when they are assembled.
    """
    for stage in genome.layout:
        names = [layer.name for layer in stage.layers]
        for before, after in pairwise(names):
            for first in options[before]:
                for second in options[after]:
                    try:
                        assembled(genome, {before: first, after: second}, candidates)
                    except GenomeError:
                        yield (before, first), (after, second)


def replaced(assembly: Mapping[str, str]) -> list[Place]:
    """The layers of an assembly that do not keep their own attention, with their candidates."""
    return [(layer, name) for layer, name in assembly.items() if name != KEEP]


def key_of(assembly: Assembly) -> str:
    """An assembly as text: equal ones have equal keys.

    >>> key_of({"stages.0.layers.1": "linear", "stages.0.layers.0": "keep"})
    '{"stages.0.layers.1": "linear"}'
    """
    return json.dumps(dict(replaced(assembly)), sort_keys=True)


_SHORTHAND = ("depth", "split", "core", "tail", "auxiliary", "local", "layers")


def _plain(config: BlockConfig | None) -> dict[str, Any] | None:
    return config.model_dump(mode="json") if config is not None else None
