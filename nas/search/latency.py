"""Throughput of genomes that nobody has built: seconds per part, measured once and alone, then added up.

While a search runs, its workers keep the machine busy and a stopwatch would measure them as well. So before they
start, a few genomes that have all parts of the space between them are run on the quiet device, with a clock at the
borders of their parts: each layer, what a stage does around its layers (embedding, position), what the model does
around its stages (norm, head). A part's key is what its time can depend on: blocks and their options, grid, width,
heads, the form of incoming scores. A prediction is the sum over the parts, times the ratio by which such sums miss the
uninterrupted stopwatch on the genomes that were run. Winners are measured alone in the end (nas/search/winners.py).
"""

from __future__ import annotations

import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from pydantic import BaseModel
from torch import nn

from nas.cost import throughput
from nas.cost.stopwatch import timed
from nas.errors import GenomeError
from nas.files import write_json
from nas.genome import Genome
from nas.model import Model, build, deploy
from nas.search.domain import Domain

BATCH = 64
PATIENCE = 200  # genomes drawn in a row without a part that is new, until the space counts as covered
TRAINING_ONLY = {"name", "layers", "auxiliary", "drop_path"}  # fields of a plan that the deployed graph's time ignores


@dataclass(frozen=True)
class LatencyTable:
    """Seconds per part for one batch, on `device` (its name) with so many CPU threads, in float32.

    >>> LatencyTable.measure(domain, seed=0).images_per_second(load_genome("lavit_digits"))
    """

    seconds: dict[str, float]
    scale: float
    device: str
    threads: int
    batch_size: int = BATCH

    def images_per_second(self, genome: Genome) -> float:
        """The prediction. A part that was not met counts as the slowest of its kind."""
        return self.batch_size / (self.scale * sum(self._of(key) for key in parts(genome).values()))

    def _of(self, key: str) -> float:
        if key in self.seconds:
            return self.seconds[key]
        kind = key.split(" ", 1)[0]
        return max(value for other, value in self.seconds.items() if other.startswith(kind))

    @classmethod
    def measure(cls, domain: Domain, *, seed: int, device: str = "cpu") -> LatencyTable:
        """Run genomes that cover the domain. Nothing else may run on the machine meanwhile."""
        samples: dict[str, list[float]] = defaultdict(list)
        runs: list[tuple[Genome, float]] = []
        for genome in covering(domain, seed):
            model = build(genome)
            found = throughput(model, batch_size=BATCH, device=device)
            runs.append((genome, found.median_seconds))
            clocked = clock(deploy(model).to(device), device)
            for name, key in parts(genome).items():
                samples[key].append(clocked[name])
        seconds = {key: statistics.median(values) for key, values in samples.items()}
        ratios = [measured / sum(seconds[key] for key in parts(genome).values()) for genome, measured in runs]
        return cls(seconds, statistics.median(ratios), found.device, found.threads)

    def write(self, path: Path) -> None:
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        return cls(**json.loads(path.read_text()))


def parts(genome: Genome) -> dict[str, str]:
    """Module name of every part and its key; `""` is the model around its stages."""
    found = {}
    for stage in genome.layout:
        found[stage.name] = f"stage {_text(stage._asdict())} {genome.position}"
        for layer in stage.layers:
            found[layer.name] = f"layer {_text(layer._asdict())} {genome.qkv_bias}"
    last = genome.layout[-1]
    return found | {"": f"head {last.width} {last.tokens} {genome.classes} {genome.pool}"}


def covering(domain: Domain, seed: int) -> Iterator[Genome]:
    """The base, then random genomes of the domain that each have a part not met before."""
    yield domain.base
    known = set(parts(domain.base).values())
    rng, idle = Random(seed), 0
    while idle < PATIENCE:
        idle += 1
        try:
            genome = domain.genome(domain.draw(rng))
        except GenomeError:
            continue
        new = set(parts(genome).values()) - known
        if new:
            known |= new
            idle = 0
            yield genome


def clock(model: Model, device: str) -> dict[str, float]:
    """Median seconds of each part of a deployed model, by module name; a stage's are without its layers."""
    image = model.genome.image
    images_BCHW = torch.randn(BATCH, image.channels, image.size, image.size, device=device)
    names = list(parts(model.genome))
    stamps: dict[str, list[tuple[Any, Any]]] = {name: [] for name in names}
    stamp, elapsed = _stamps(device)

    def before(name: str) -> Callable[..., None]:
        return lambda *_: stamps[name].append((stamp(), None))

    def after(name: str) -> Callable[..., None]:
        return lambda *_: stamps[name].append((stamps[name].pop()[0], stamp()))

    for name in names:
        module: nn.Module = model.get_submodule(name)
        module.register_forward_pre_hook(before(name))
        module.register_forward_hook(after(name))
    with torch.inference_mode():
        rounds = len(timed(lambda: model(images_BCHW), device=device))
    total = {
        name: statistics.median(elapsed(begin, end) for begin, end in times[-rounds:]) for name, times in stamps.items()
    }
    inner: dict[str, float] = defaultdict(float)
    for name in names:
        if name:
            inner[name.rpartition(".layers.")[0]] += total[name]
    return {name: max(total[name] - inner[name], 1e-9) for name in names}


def _stamps(device: str) -> tuple[Callable[[], Any], Callable[[Any, Any], float]]:
    """How to take the time on a device without waiting for it, and the seconds between two takings (after a wait)."""
    if torch.device(device).type != "cuda":
        return time.perf_counter, lambda begin, end: end - begin

    def record() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    return record, lambda begin, end: begin.elapsed_time(end) / 1000


def _text(plan: dict[str, Any]) -> str:
    return json.dumps({key: value for key, value in plan.items() if key not in TRAINING_ONLY}, default=_plain)


def _plain(value: Any) -> Any:
    assert isinstance(value, BaseModel)
    return value.model_dump(mode="json")
