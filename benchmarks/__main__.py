"""`make bench`, or `python -m benchmarks --only blocks`: measure, keep the figures, write the table.

Each group writes its JSON file when it is done, so that a run that was cut off goes on with `--only` what is missing,
and the table always shows the latest of every group. With `--device cuda --dtype bfloat16 --compile` the same rows are
measured on a GPU and get a section of their own; the groups about searches, trainings and reports are left out there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks import (
    blocks_castling,
    blocks_less,
    convert,
    convert_kill,
    convert_latency,
    convert_recipes,
    convert_repair,
    convert_search,
    cost,
    fidelity,
    large_index,
    large_run,
    latency,
    loading,
    models,
    overhead,
    pareto,
    ranks,
    recipe,
    report_page,
    samplers,
    scale,
    small,
    start,
    table,
)
from benchmarks.machine import Setting, described

GROUPS = {
    "cost": cost,
    "blocks_less": blocks_less,
    "blocks_castling": blocks_castling,
    "models": models,
    "search_latency": latency,
    "search_overhead": overhead,
    "search_pareto": pareto,
    "search_samplers": samplers,
    "search_scale": scale,
    "search_fidelity": fidelity,
    "search_large_run": large_run,
    "search_ranks": ranks,
    "report_page": report_page,
    "train_start": start,
    "train_loading": loading,
    "train_large_index": large_index,
    "train_small": small,
    "train_recipe": recipe,
    "train_convert": convert,
    "train_convert_repair": convert_repair,
    "train_convert_recipes": convert_recipes,
    "train_convert_search": convert_search,
    "train_convert_kill": convert_kill,
    "train_convert_latency": convert_latency,
}
FOLDER = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help=f"a group or the beginning of its name: {', '.join(GROUPS)}")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--compile", action="store_true", help="every contender through torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=Setting.seconds, help="of each contest")
    given = parser.parse_args(arguments)
    names = [name for name in GROUPS if name.startswith(given.only)]
    if not names:
        parser.error(f"no group begins with {given.only!r}; there are {', '.join(GROUPS)}")
    dtype = getattr(torch, given.dtype)
    setting = Setting(given.device, dtype, given.threads, given.compile, given.seconds)
    if setting.label != Setting().label:
        names = [name for name in names if not name.startswith(("search", "train", "report"))]

    torch.set_num_threads(setting.threads)
    # Processes that groups start have as many threads: a BLAS that waits burns CPU.
    os.environ["OMP_NUM_THREADS"] = str(setting.threads)
    for name in names:
        started = time.perf_counter()
        file = {"group": name, "setting": setting.label, "machine": described(setting)}
        file["results"] = GROUPS[name].run(setting)
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{setting.label}-{name}.json"
        path.write_text(json.dumps(file, indent=1, ensure_ascii=False) + "\n")
        print(f"{name}: {time.perf_counter() - started:.0f} s, {path.name}", flush=True)
    table.write(FOLDER, PAGE)
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
