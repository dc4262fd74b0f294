"""Whole models against timm's: training speed of ours, and what the plug-in blocks make of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
import torch

import nas
from benchmarks.contest import Claim, Contest, Work, run_contest
from benchmarks.machine import Setting


def run(setting: Setting, batch: int = 8) -> list[dict[str, Any]]:
    return [run_contest(contest, setting) for contest in contests(batch)]


def contests(batch: int) -> list[Contest]:
    """DropPath is off on both sides; timm's model has none unless asked."""
    images_BCHW = torch.randn(batch, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    def ours(name: str) -> Callable[[], Work]:
        genome = nas.load_genome(name).edit({"drop_path": 0.0})
        return lambda: Work(nas.build(genome), (images_BCHW,))

    contenders = {
        "deit_tiny": ours("deit_tiny"),
        "castling": ours("castling_deit_tiny"),
        "timm": lambda: Work(timm.create_model("deit_tiny_patch16_224"), (images_BCHW,)),
    }
    # With auxiliaries off in inference and on in training, the castling row is about the deployed model alone.
    train = Claim("deit_tiny, forward + backward", "timm deit_tiny", ("deit_tiny",), ("timm",), 0.95)
    deployed = Claim("castling_deit_tiny, deployed", "timm deit_tiny", ("castling",), ("timm",))
    at = f"224×224 B={batch}"
    return [
        Contest(at, {name: contenders[name] for name in ("deit_tiny", "timm")}, [train], train=True),
        Contest(at, {name: contenders[name] for name in ("castling", "timm")}, [deployed], training=False),
    ]
