"""Peak memory by formula against the gauge of the benchmarks, which adds up what the allocator of a real run says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import nas
from benchmarks.measure import peak_bytes
from nas.genome import Genome, load_genome
from nas.model import build, deploy
from nas.profiling import memory
from nas.profiling.memory import peak_memory

SMALL = [name for name in nas.list_presets() if name.endswith(("_digits", "_32"))]
LARGER = ["castling_deit_tiny", "deit_tiny", "lavit_t", "levit_like", "pvt_v2_b0"]


def gauged(genome: Genome) -> tuple[int, int]:
    """Bytes of weights and of activations of the deployed model, for one image."""
    model, image = deploy(build(genome)), genome.image
    images_BCHW = torch.randn(1, image.channels, image.size, image.size)
    with torch.inference_mode():
        activations = peak_bytes(lambda: model(images_BCHW), device="cpu")
    return sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()]), activations


@pytest.mark.parametrize("name", [*SMALL, *LARGER])
def test_it_is_what_the_allocator_is_asked_for(name: str) -> None:
    genome = load_genome(name)
    assert peak_memory(genome) == pytest.approx(sum(gauged(genome)), rel=0.1)


@pytest.mark.parametrize("name", SMALL)
def test_activations_are_exact_where_every_kernel_is_torchs_own(name: str) -> None:
    genome = load_genome(name)
    weights, activations = gauged(genome)
    assert peak_memory(genome) - weights == activations


@pytest.mark.parametrize(
    "change",
    [
        {"stages.0.tail": {"block": "less", "path": "dense"}},
        {"stages.0.tail": {"block": "less", "source": "weights"}},
        {"stages.0.tail": "skip_attention"},
        {"layer_scale": 1e-5, "stages.0.tail": "skip_attention"},
        {"stages.1.attention_residual": "flat"},
        {"stages.1.attention_residual": "separable"},
        {"stages.1.attention_residual": "separable", "stages.1.heads": 1},
        {"stages.*.mlp": "swiglu", "merging": "normed", "norm_pre": True, "position": "grid", "last_norm": "pooled"},
        {"rotary": {}, "registers": 2, "pool": "patches", "qk_norm": True, "position": "none"},
        {"stem": "conv", "stages.0.patch": 4, "image.size": 32, "stage_norm": True, "pool": "token"},
    ],
)
def test_part_by_part_is_the_model_as_a_whole(change: dict[str, object]) -> None:
    """On large maps, where the scores that are held for later make a difference."""
    base = load_genome("lavit_digits").edit({"image.size": 32, "stages.0.split": 1, "stages.1.split": 1})
    genome = base.edit(change)
    with torch.device("meta"):
        model = deploy(build(genome))
    images_BCHW = torch.empty(1, 1, 32, 32, device="meta")
    with torch.no_grad(), memory._Fused(), memory._Live() as live:
        model(images_BCHW)
    weights = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    assert peak_memory(genome) == weights + live.peak


def test_a_part_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_KNOWN", {})
    genome = load_genome("lavit_digits")
    found = peak_memory(genome)
    parts = len(memory._KNOWN)
    monkeypatch.setattr(memory, "build", None)
    assert peak_memory(genome.edit({"drop_path": 0.1, "stages.*.auxiliary": None})) == found
    assert len(memory._KNOWN) == parts


def test_a_tensor_counts_until_nothing_refers_to_it() -> None:
    with memory._Live() as live:
        x: Tensor = torch.empty(100, device="meta")
        y = x + 1
        del x
        z = y.view(10, 10)
        del y
        z = z * 2
    assert (live.now, live.peak) == (400, 800) and z.shape == (10, 10)
