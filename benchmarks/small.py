"""A small model's training: this code against that of an earlier commit, epoch by epoch, and where its time goes.

150 k parameters, scikit-learn's digits, batches of 64, one thread. Both versions of the package are loaded in one
process (its modules are exchanged before each call) and train the same genome with the same seed and data by turns,
evaluation and checkpoints included. The time is the process's CPU time, which other work on the machine disturbs less.
`NAS_BENCH_OLD` names the earlier commit; the default is the last one before small models were looked at.

The shares are those of torch's profiler, by the operation's own time, of one such training. `calls from Python` is what
the profiler sees no operation in: module calls, the loop, files. The profiler's own cost is in it. The row of
compilation says what merging the small operations would give: wall time of one training each, without the first epoch,
which compiles for half a minute.
"""

from __future__ import annotations

import importlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import Setting
from benchmarks.measure import ratio

ROOT = Path(__file__).parents[1]
OLD = "967f884"
GENOMES = ("lavit_digits", "castling_digits")
EPOCHS, ROUNDS, BAR = 4, 16, 0.75
KINDS = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm"),
    "attention": ("aten::_scaled_dot_product", "aten::_softmax"),
    "convolutions": ("aten::convolution_backward", "aten::mkldnn_convolution", "aten::_convolution"),
    "norms and activations": ("aten::native_layer_norm", "aten::gelu", "aten::linalg_vector_norm"),
    "optimiser, clipping, average": ("Optimizer.", "aten::_fused_adamw_", "aten::lerp_", "aten::_foreach"),
    "copies and fills": ("aten::copy_", "aten::fill_", "aten::zero_", "aten::clone", "aten::_to_copy"),
    "element by element": ("aten::add", "aten::mul", "aten::div", "aten::sum", "aten::masked_fill", "aten::neg",
                           "aten::le", "aten::clamp", "aten::where", "aten::index"),
}  # fmt: skip
LIMIT = (
    "matrix products, attention, convolutions, norms and activations are the same on both sides; what is left are many "
    "small operations in order; torch.compile merges them, for what its row says, but takes half a minute a genome"
)


class Version:
    """The package as it is in a folder, beside others in the same process."""

    def __init__(self, folder: Path):
        self.folder, self.modules = str(folder), dict[str, ModuleType]()
        with self.current():
            self.data = importlib.import_module("nas.data").load("digits")

    @contextmanager
    def current(self) -> Iterator[None]:
        """`import nas` means this version."""
        others = _taken()
        sys.modules.update(self.modules)
        sys.path.insert(0, self.folder)
        try:
            yield
        finally:
            sys.path.remove(self.folder)
            self.modules = _taken()
            sys.modules.update(others)

    def trained(self, name: str, *, compile: bool = False) -> tuple[float, list[dict[str, float]]]:
        """CPU seconds of a training, and its metrics by epochs."""
        with self.current(), tempfile.TemporaryDirectory() as folder:
            training = importlib.import_module("nas.train")
            genome = importlib.import_module("nas.genome").load_genome(name)
            recipe = training.Training(epochs=EPOCHS, compile=compile)
            begin = time.process_time()
            result = training.train(genome, self.data, recipe, directory=Path(folder), seed=0, threads=1)
            return time.process_time() - begin, result.metrics


def _taken() -> dict[str, ModuleType]:
    """Takes the package's modules out of those that Python has imported."""
    return {name: sys.modules.pop(name) for name in [*sys.modules] if name == "nas" or name.startswith("nas.")}


def run(setting: Setting) -> list[dict[str, Any]]:
    revision = os.environ.get("NAS_BENCH_OLD", OLD)
    warnings.filterwarnings("ignore", "Overwriting .* in registry")  # timm's, of the second version's presets
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            archive = subprocess.run(["git", "-C", ROOT, "archive", revision, "nas"], check=True, capture_output=True)
            subprocess.run(["tar", "x", "-C", folder], input=archive.stdout, check=True)
            versions = {"now": Version(ROOT), "then": Version(Path(folder))}
            return [_measured(name, versions, revision) for name in GENOMES]
    finally:
        torch.set_num_threads(threads)


def _measured(name: str, versions: dict[str, Version], revision: str) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {which: [] for which in versions}
    losses: dict[str, float] = {}
    order = list(versions)
    for number in range(ROUNDS + 1):
        for which in order:
            took, metrics = versions[which].trained(name)
            losses[which] = metrics[0]["loss"]
            if number:  # the first round warms up
                seconds[which].append(took)
        order.reverse()
    images = versions["now"].data
    steps = EPOCHS * images.train.batch_count(64, drop_last=True)
    at = f"{name}, {EPOCHS} epochs of {steps // EPOCHS} batches of 64, one thread"
    both = ratio(seconds["now"], seconds["then"])
    apart = abs(losses["now"] - losses["then"]) / losses["then"]
    compiled, eager = (
        statistics.median(row["seconds"] for row in versions["now"].trained(name, compile=on)[1][1:])
        for on in (True, False)
    )
    rows = [
        _row("CPU time of a training", f"that of {revision}", at, asdict(both), BAR, both.value <= BAR),
        _row("difference of the first epoch's loss, in millionths", "—", at, _exact(1e6 * apart), 10, apart <= 1e-5),
        _row("an epoch, compiled", "eager", at, _exact(compiled / eager)),
    ]
    milliseconds = [1e3 * took / steps for took in seconds["now"]]
    figure = {"value": statistics.median(milliseconds), "low": min(milliseconds), "high": max(milliseconds)}
    rows.append(_row("milliseconds a batch, evaluation and checkpoints included", "—", at, figure))
    rows += [_row(f"share: {kind}", "—", at, _exact(share)) for kind, share in _shares(name, versions["now"]).items()]
    return {"at": at, "seconds": seconds, "losses": losses, "rows": rows}


def _shares(name: str, version: Version) -> dict[str, float]:
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        begin = time.perf_counter()
        version.trained(name)
        whole = time.perf_counter() - begin
    shares = dict.fromkeys([*KINDS, "other operations, and autograd's own"], 0.0)
    for event in profiler.key_averages():
        kind = next((kind for kind, names in KINDS.items() if event.key.startswith(names)), None)
        shares[kind or "other operations, and autograd's own"] += event.self_cpu_time_total / 1e6 / whole
    return shares | {"calls from Python": 1 - sum(shares.values())}


def _exact(value: float) -> dict[str, float | None]:
    return {"value": value, "low": None, "high": None}


def _row(
    what: str,
    against: str,
    at: str,
    figure: Mapping[str, float | None],
    bar: float | None = None,
    met: bool | None = None,
) -> dict[str, Any]:
    return {"what": what, "against": against, "at": at, "about": "small", "bar": bar, "upper": True, "ratio": figure,
            "met": met, "limit": LIMIT if met is False and against != "—" else ""}  # fmt: skip
