"""One training by two GPUs over NCCL, against one GPU: `nas train --processes 2` (nas/train/ranks.py)."""

from __future__ import annotations

import torch

from benchmarks.gpu.check import Found, Place, Skipped, apart
from nas.engine.single import train_genome

BAR = 1e-4  # relative, of each epoch's loss; sums of gradients have another order
SETTINGS = {
    "training.precision": "float32",
    "training.epochs": 2,
    "training.limit": 400,
    "stem": "conv",
    "drop_path": 0.1,
}


def two_ranks(place: Place) -> Found:
    """Losses of two ranks are those of one process, in float32, with batch norm and drop path. Over gloo on a CPU."""
    if not place.rehearsal and (count := torch.cuda.device_count()) < 2:
        raise Skipped(f"NCCL wants two GPUs, and torch sees {count}")
    losses = {processes: _losses(place, processes) for processes in (1, 2)}
    off = max(apart(two, one) for one, two in zip(losses[1], losses[2], strict=True))
    wrong = (
        [f"losses are {off:.1e} apart, {losses[2]} with two ranks and {losses[1]} with one"] if not off <= BAR else []
    )
    return Found(f"losses of two ranks within {off:.0e} of one process's (bar {BAR:.0e})", wrong, {"losses": losses})


def _losses(place: Place, processes: int) -> list[float]:
    found = train_genome(
        "castling_digits",
        settings=SETTINGS,
        out=place.folder / f"{processes}-ranks",
        device=place.device,
        processes=processes,
        progress=False,
    )
    return found.metrics["loss"].tolist()
