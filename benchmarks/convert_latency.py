"""Conversion for latency: does the layout that is chosen under a budget of time meet it by stopwatch?

The parent is an isotropic ViT of random weights (time does not depend on them; width 64, 2 heads, 6 layers) at 1,024
and at 4,096 tokens, single images. All is the product's own: the default candidates, the table of timings, the exact
choice under `latency: 0.667x` and `0.333x`. Scores are pseudo-random, as the question is about the cost alone. Parent
and layout are then timed in turns in one process; the bar is the budget's share and 10 % more. "Predicted" is what the
table says, and "measured over predicted" how far it is off.

DeiT-S (timm's shape, width 384, 6 heads) at 224 and 512 pixels says what pays in a model that people have: milliseconds
of a layer by the table, which is measured on three of the twelve layers (equal layers have one entry), and the whole
model with one candidate in all layers that it fits, by stopwatch in turns with the parent.

With one thread on a CPU the stopwatch, the product's as well, runs on the CPU seconds of this process: what an idle
machine's clock shows, though others may be at work.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from random import Random
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.contest import met
from benchmarks.machine import Setting
from benchmarks.measure import Ratio, interleaved, ratio
from nas.convert.candidates import DEFAULT, KEEP, Assembly, assembled, listed, offered
from nas.convert.choice import choose
from nas.convert.plan import Parts, problem
from nas.convert.score import Score
from nas.convert.spec import ConversionSpec
from nas.genome import Genome, load_genome
from nas.metrics import estimator
from nas.model import build, deploy
from nas.profiling import LatencyTable, covering
from nas.profiling.parts import parts as keys

ALLOWED = 1.1  # times the budget
ROUNDS = 11  # of a comparison, at least
ISOTROPIC: dict[str, Any] = {"classes": 10, "stages": [{"patch": 4, "width": 64, "heads": 2, "depth": 6}]}
DEPTH, TIMED = 12, 3  # layers of DeiT-S: of the whole, and of the one that the table is measured on


@dataclass(frozen=True)
class Case:
    """size: pixels, 16 a token. share: of the parent's latency."""

    size: int
    share: float


CASES = (Case(128, 0.667), Case(256, 0.333))
SIZES = (224, 512)  # of DeiT-S
EVERYWHERE = ("reuse", "linear", "linear_local")


def run(setting: Setting) -> list[dict[str, Any]]:
    """The device's own file of timings is neither read nor written."""
    alone = setting.threads == 1 and torch.device(setting.device).type == "cpu"
    clock = patch.object(time, "perf_counter", time.process_time) if alone else nullcontext()
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, XDG_CACHE_HOME=folder), clock:
        return [*(_chosen(case, setting) for case in CASES), *(_deit(size, setting) for size in SIZES)]


def _chosen(case: Case, setting: Setting) -> dict[str, Any]:
    genome = listed(load_genome(ISOTROPIC | {"image": {"size": case.size, "channels": 3}}))
    table = _table(genome, setting)
    parts = _parts(genome, table)
    spec = ConversionSpec.parse({"start": "parent.yaml", "budget": {"latency": f"{case.share}x"}})
    single = {place: Score(Random(" ".join(place)).random(), 1.0, 0.0, 0.0) for place in parts.replacements()}
    choice = choose(problem(parts, single, spec.budget_of(parts.own)))
    layout = {layer: name for layer, name in zip(parts.layers, choice.names, strict=True) if name != KEEP}
    found = _against_parent(parts, {"chosen": layout}, setting)["chosen"]
    predicted, macs = (choice.costs[metric] / parts.own[metric] for metric in ("latency", "macs"))
    at = f"{genome.layout[0].tokens:,} tokens, {len(layout)} of {len(parts.layers)} layers replaced"
    off = Ratio(found.value / predicted, found.low / predicted, found.high / predicted)
    print(f"{at}: {choice.names}, predicted {predicted:.3f}, {found}", flush=True)
    rows = [
        _row(f"time of the layout chosen under latency: {case.share}x", "the parent", at, found, ALLOWED * case.share),
        _row("the same, predicted", "the parent", at, predicted),
        _row("the same, measured", "predicted", at, off),
        _row("MACs of that layout", "the parent", at, macs),
    ]
    return {"at": at, "layout": choice.names, "milliseconds": _layer(parts, table), "rows": rows}


def _deit(size: int, setting: Setting) -> dict[str, Any]:
    genome = load_genome("deit_small").edit({"image.size": size})
    few, whole = (listed(genome.edit({"stages.0.depth": depth})) for depth in (TIMED, DEPTH))
    table = _table(few, setting)
    parts = _parts(whole, table)
    layouts = {name: {layer: name for layer, names in parts.options.items() if name in names} for name in EVERYWHERE}
    found = _against_parent(parts, layouts, setting)
    layer = _layer(parts, table)
    at = f"DeiT-S, {size} pixels, {whole.layout[0].tokens:,} tokens"
    print(f"{at}: {layer}, {found}", flush=True)
    rows = [_row(f"a layer with {name}: predicted ms", "—", at, value) for name, value in layer.items()]
    for name, layout in layouts.items():
        what = f"{name} in {len(layout)} of {DEPTH} layers: time"
        predicted = parts.costs(layout)["latency"] / parts.own["latency"]
        rows.append(_row(what, "the parent", at, found[name]))
        rows.append(_row(f"{what}, predicted", "the parent", at, predicted))
    return {"at": at, "milliseconds": layer, "rows": rows}


def _table(genome: Genome, setting: Setting) -> LatencyTable:
    """Measured now, on the models that a conversion would measure."""
    options = offered(genome, DEFAULT)
    singles = [assembled(genome, {layer: name}, DEFAULT) for layer, names in options.items() for name in names[1:]]
    models = covering(genome, partial(Random(0).choice, singles))
    return LatencyTable.measure(models, genome, batch_size=1, device=setting.device)


def _parts(genome: Genome, table: LatencyTable) -> Parts:
    return Parts(genome, offered(genome, DEFAULT), DEFAULT, estimator(["macs", "latency"], {1: table}))


def _layer(parts: Parts, table: LatencyTable) -> dict[str, float]:
    """Predicted milliseconds of the second layer with its own attention, and with each candidate alone."""
    layer = parts.layers[1]
    kept = 1000 * table.seconds[keys(parts.parent)[layer]]
    saved = {name: parts.own["latency"] - parts.alone[layer, name]["latency"] for name in parts.options[layer][1:]}
    return {"softmax": kept} | {name: kept - value for name, value in saved.items()}


def _against_parent(parts: Parts, layouts: Mapping[str, Assembly], setting: Setting) -> dict[str, Ratio]:
    """Time of each layout over the parent's, all of them in turns."""
    genomes = {"": parts.parent} | {name: assembled(parts.parent, each, DEFAULT) for name, each in layouts.items()}
    image_BCHW = torch.randn(1, 3, parts.parent.image.size, parts.parent.image.size, device=setting.device)
    calls = {name: partial(deploy(build(each)).to(setting.device), image_BCHW) for name, each in genomes.items()}
    with torch.inference_mode():
        times = interleaved(calls, device=setting.device, seconds=setting.seconds, least=ROUNDS)
    return {name: ratio(times[name], times[""]) for name in layouts}


def _row(what: str, against: str, at: str, value: Ratio | float, bar: float | None = None) -> dict[str, Any]:
    figure = asdict(value) if isinstance(value, Ratio) else {"value": value, "low": None, "high": None}
    value = value.value if isinstance(value, Ratio) else value
    return {
        "what": what,
        "against": against,
        "at": at,
        "about": "conversion",
        "bar": bar,
        "upper": True,
        "ratio": figure,
        "met": met(value, bar, True),
        "limit": "see the head of benchmarks/convert_latency.py",
    }
