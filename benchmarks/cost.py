"""`nas.cost`: genomes per second, over distinct genomes that are parsed already (a search asks for each candidate)."""

from __future__ import annotations

import itertools
import statistics
import time
from typing import Any

import nas
from benchmarks.contest import met
from benchmarks.machine import Setting

_BAR = 5000.0


def run(setting: Setting, count: int = 1000) -> list[dict[str, Any]]:
    """Three kinds of genome; each is timed in rounds of `count` distinct genomes, and the median round counts."""
    kinds = {"deit": _deit, "castling": _castling, "lavit, 4 stages, 8…18 layers": _lavit}
    results = []
    for kind, made in kinds.items():
        genomes = [nas.load_genome(data) for data in itertools.islice(made(), count)]
        rounds = sorted(len(genomes) / _seconds(genomes) for _ in range(max(setting.least, 9)))
        value = statistics.median(rounds)
        row = {
            "what": "nas.cost, genomes per second",
            "against": "—",
            "at": f"{kind}, {len(genomes)} distinct",
            "about": "rate",
            "bar": _BAR,
            "upper": False,
            "ratio": {"value": value, "low": rounds[0], "high": rounds[-1]},
            "met": met(value, _BAR, False),
            "limit": "",
        }
        results.append({"at": row["at"], "rounds": len(rounds), "rows": [row]})
    return results


def _seconds(genomes: list[nas.Genome]) -> float:
    start = time.perf_counter()
    for genome in genomes:
        nas.cost(genome)
    return time.perf_counter() - start


def _deit(**layer: Any) -> Any:
    for heads, depth, ratio in itertools.product(range(1, 17), range(4, 19), (1.0, 1.5, 2.0, 3.0, 4.0)):
        stage = {"patch": 16, "width": 64 * heads, "heads": heads, "depth": depth, "mlp_ratio": ratio, **layer}
        yield {"stages": [stage]}


def _castling() -> Any:
    return _deit(core="linear_angular", auxiliary="masked_softmax", local="depthwise")


def _lavit() -> Any:
    splits = itertools.product((1, 2), (1, 2, 3), (1, 2, 4, 6), (1, 2, 3))
    for depth, ratio, split in itertools.product(range(6, 10), (2.0, 3.0, 4.0), splits):
        shapes = zip((4, 2, 2, 2), (64, 128, 320, 512), (1, 2, 5, 8), (2, 3, depth, 3), split, strict=True)
        keys = ("patch", "width", "heads", "depth", "split")
        yield {"stages": [dict(zip(keys, shape, strict=True)) | {"mlp_ratio": ratio} for shape in shapes]}
