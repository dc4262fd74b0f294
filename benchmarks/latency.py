"""How far a search's prediction of throughput is from the stopwatch, on genomes that the prediction has not seen.

As a search does it (nas/profiling/latency.py): genomes that have all parts of the space between them are timed, in
multiples of the base's time; others of the space, drawn at random, are predicted by adding up their parts, and run for
real, each in turns with the base. Three figures a space, each a median over the held-out genomes:

- predicted / measured − 1 in multiples of the base, which is what a search ranks its genomes by;
- the same in images per second, with the seconds that the base took when the table was made, minutes ago;
- measured / measured again − 1, by the plain stopwatch on one genome at a time: what it disagrees with itself by.

Nothing else may run meanwhile, which is what the code that is measured asks for as well.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

from benchmarks.contest import met
from benchmarks.machine import Setting
from nas.genome import Genome
from nas.metrics import METRICS
from nas.model import build
from nas.profiling import covering, throughput, throughputs
from nas.profiling.latency import LatencyTable
from nas.search import load_space
from nas.search.space import SearchSpace

_BAR = 0.10
_BATCH = 64
_SEED = 0
_HELD_OUT = 20
_SPACES = {
    "mixed, 8×8": ("mixed", {"base": "mixed_digits"}),
    "mixed, 32×32": ("mixed", {"base": "mixed_micro_32"}),
    "castling, 32×32": ("castling", {"base": "castling_micro_32"}),
}


def run(setting: Setting) -> list[dict[str, Any]]:
    """Three rows for each space. The device's own file of timings is neither read nor written."""
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, XDG_CACHE_HOME=folder):
        return [_result(name, spec, settings, setting) for name, (spec, settings) in _SPACES.items()]


def _result(name: str, space_name: str, settings: dict[str, Any], setting: Setting) -> dict[str, Any]:
    spec = load_space(space_name).with_settings(settings)
    space = spec.space(spec.genome())
    held_out = _held_out(space)

    def alone(genome: Genome) -> float:
        return throughput(build(genome), batch_size=_BATCH, device=setting.device).images_per_second

    genomes = covering(space.base, partial(space.sample, Random(_SEED)))
    table = LatencyTable.measure(genomes, space.base, batch_size=_BATCH, device=setting.device)
    predicted = [METRICS["throughput"].of(table.seconds_of(genome)) for genome in [space.base, *held_out]]
    models = [build(genome) for genome in [space.base, *held_out]]
    found = throughputs(models, batch_size=_BATCH, device=setting.device)
    measured = [each.images_per_second for each in found]
    again = [(alone(genome), alone(genome)) for genome in held_out]
    pairs = list(zip(predicted, measured, strict=True))
    base = predicted[0] / measured[0]
    at = f"{name}, {len(held_out)} genomes that were not timed before"
    errors = {
        "throughput in multiples of the base's, predicted": [p / m / base - 1 for p, m in pairs[1:]],
        "throughput in images/s, predicted": [p / m - 1 for p, m in pairs[1:]],
        "throughput in images/s, measured a second time": [a / b - 1 for a, b in again],
    }
    rows = [_row(what, at, values, bar=_BAR if "predicted" in what else None) for what, values in errors.items()]
    return {"at": at, "errors": errors, "parts": len(table.seconds), "rows": rows}


def _row(what: str, at: str, errors: list[float], *, bar: float | None) -> dict[str, Any]:
    sizes = [abs(error) for error in errors]
    value = statistics.median(sizes)
    low, *_, high = statistics.quantiles(sizes, n=4)
    limit = "the clock of this machine moves: its stopwatch disagrees with itself as the third row says"
    return {
        "what": f"{what}: median error (quartiles)",
        "against": "stopwatch",
        "at": at,
        "about": "error",
        "bar": bar,
        "upper": True,
        "ratio": {"value": value, "low": low, "high": high},
        "met": met(value, bar, True),
        "limit": limit if bar else "",
    }


def _held_out(space: SearchSpace) -> list[Genome]:
    """Genomes of the space, none of which gave a timing."""
    known = {genome.hash for genome in covering(space.base, partial(space.sample, Random(_SEED)))}
    rng, found = Random("held out"), []
    while len(found) < _HELD_OUT:
        genome = space.genome(space.draw(rng))
        if genome.hash not in known:
            known.add(genome.hash)
            found.append(genome)
    return found
