"""Under what a figure was measured: the setting that was asked for, and the machine that it ran on."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Setting:
    """What the command line chooses. `compile`: every contender runs through torch.compile."""

    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    threads: int = 2
    compile: bool = False
    seconds: float = 4.0  # of each contest, warm-up and slow contenders aside
    least: int = 5  # rounds of a contest

    @property
    def label(self) -> str:
        """Part of the result files' names: one table per setting."""
        return f"{self.device}-{str(self.dtype).removeprefix('torch.')}{'-compiled' * self.compile}"


def described(setting: Setting) -> dict[str, Any]:
    """The machine in words and numbers; the load is that of the minute before, by this program or by others."""
    gpu = torch.cuda.get_device_name(setting.device) if torch.device(setting.device).type == "cuda" else None
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "gpu": gpu,
        "threads": setting.threads,
        "dtype": str(setting.dtype).removeprefix("torch."),
        "compiled": setting.compile,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": version("timm"),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    features = torch.backends.cpu.get_cpu_capability()
    return f"{names[0] if names else platform.processor() or platform.machine()} ({features})"
