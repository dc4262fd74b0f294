"""How far a search's prediction of throughput is from the stopwatch, on genomes that the prediction has not seen.

As a search does it (nas/search/latency.py): per-layer timings are taken of genomes that have all parts of the space
between them; then others of the space, drawn at random, are predicted by adding up their parts, and run for real by
`nas.throughput`. The figure is the median of |predicted / measured − 1|. Nothing else may run meanwhile, which is what
the code that is measured asks for as well.
"""

from __future__ import annotations

import statistics
from random import Random
from typing import Any

from benchmarks.contest import met
from benchmarks.machine import Setting
from nas.cost import throughput
from nas.genome import Genome
from nas.model import build
from nas.search import load_space
from nas.search.domain import Domain
from nas.search.latency import BATCH, LatencyTable, covering

_BAR = 0.10
_SEED = 0
_HELD_OUT = 20
_SPACES = {
    "mixed, 8×8": ("mixed", ["base=mixed_digits"]),
    "mixed, 32×32": ("mixed", ["base=mixed_micro_32"]),
    "castling, 32×32": ("castling", ["base=castling_micro_32"]),
}


def run(setting: Setting) -> list[dict[str, Any]]:
    """A row for each space: the median error over its held-out genomes."""
    return [_result(name, space, settings, setting) for name, (space, settings) in _SPACES.items()]


def _result(name: str, space_name: str, settings: list[str], setting: Setting) -> dict[str, Any]:
    space = load_space(space_name).with_settings(settings)
    domain = space.domain(space.genome())
    table = LatencyTable.measure(domain, seed=_SEED, device=setting.device)
    errors = []
    for genome in _held_out(domain):
        measured = throughput(build(genome), batch_size=BATCH, device=setting.device).images_per_second
        errors.append(abs(table.images_per_second(genome) / measured - 1))
    value, bar = statistics.median(errors), _BAR
    low, *_, high = statistics.quantiles(errors, n=4)
    row = {
        "what": "throughput, predicted against measured: median error (quartiles)",
        "against": "stopwatch",
        "at": f"{name}, {len(errors)} genomes that were not timed before",
        "about": "error",
        "bar": bar,
        "upper": True,
        "ratio": {"value": value, "low": low, "high": high},
        "met": met(value, bar, True),
        "limit": "",
    }
    return {"at": row["at"], "errors": errors, "parts": len(table.seconds), "rows": [row]}


def _held_out(domain: Domain) -> list[Genome]:
    """Genomes of the domain, none of which gave a timing."""
    known = {genome.hash for genome in covering(domain, _SEED)}
    rng, found = Random("held out"), []
    while len(found) < _HELD_OUT:
        genome = domain.genome(domain.draw(rng))
        if genome.hash not in known:
            known.add(genome.hash)
            found.append(genome)
    return found
