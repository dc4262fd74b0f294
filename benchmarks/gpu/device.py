"""The device itself: what it is, and whether torch's kernels run on it and compute what the CPU does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.gpu.check import Found, Place
from benchmarks.machine import Setting, described

BAR = 1e-2  # relative, of the largest value: cuDNN may convolve in TF32, which has 11 bits
QUERY = "driver_version,name,memory.total,memory.used,utilization.gpu,compute_mode"


def device(place: Place) -> Found:
    """Matrix product, convolution and fused attention, forward and backward. The figures are the machine."""
    torch.manual_seed(0)
    off = {name: _apart(call, sizes, place.device) for name, (call, sizes) in KERNELS.items()}
    wrong = [f"{name} is {value:.1e} off the CPU's" for name, value in off.items() if not value <= BAR]
    machine = described(Setting(device=place.device, threads=torch.get_num_threads()))
    figures = machine | {"kernels_off": off} | ({} if place.rehearsal else _gpus())
    name = figures["gpu"] or f"{figures['cpu']}, in place of a GPU"
    return Found(f"{name}; {', '.join(off)} as on the CPU (within {max(off.values()):.0e})", wrong, figures)


KERNELS: dict[str, tuple[Callable[..., Tensor], tuple[tuple[int, ...], ...]]] = {
    "matrix product": (torch.matmul, ((64, 128), (128, 32))),
    "convolution": (F.conv2d, ((4, 8, 16, 16), (8, 8, 3, 3))),
    "fused attention": (F.scaled_dot_product_attention, ((2, 4, 64, 32),) * 3),
}


def _apart(call: Callable[..., Tensor], sizes: tuple[tuple[int, ...], ...], device: str) -> float:
    """The largest difference of results and gradients to the CPU's, relative to their largest value."""
    inputs = [torch.randn(size) for size in sizes]
    there, here = (_results(call, [each.to(where) for each in inputs]) for where in (device, "cpu"))
    return max(float((a.cpu() - b).abs().max() / b.abs().max()) for a, b in zip(there, here, strict=True))


def _results(call: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    leaves = [each.requires_grad_() for each in inputs]
    result = call(*leaves)
    return [result.detach(), *torch.autograd.grad(result.square().sum(), leaves)]


def _gpus() -> dict[str, Any]:
    """CUDA's versions, the GPU as torch sees it, and what nvidia-smi says about all of them."""
    seen = torch.cuda.get_device_properties(0)
    found = {
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if torch.distributed.is_nccl_available() else None,
        "built_for": torch.cuda.get_arch_list(),
        "capability": f"{seen.major}.{seen.minor}",
        "memory_gib": round(seen.total_memory / 2**30, 1),
        "multiprocessors": seen.multi_processor_count,
        "bfloat16": torch.cuda.is_bf16_supported(including_emulation=False),
    }
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv"]
        found["nvidia_smi"] = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.splitlines()
    return found
