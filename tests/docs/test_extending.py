"""The examples of docs/extending.md, written to files, loaded as plug-ins and used."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.data import load
from nas.genome import load_genome
from nas.metrics import METRICS
from nas.model import build
from nas.plugins import load_plugins
from nas.profiling import cost
from nas.registry import Registry

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
FENCED = r"(?s)(?<=```python\n)# (\w+)\.py: .*?(?=```)"
EXAMPLES = {match[1]: match[0] for match in re.finditer(FENCED, PAGE.read_text())}


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """The example that the test is parametrised with is loaded."""
    file = tmp_path / f"{request.param}.py"
    file.write_text(EXAMPLES[request.param])
    load_plugins([file])
    yield
    Registry.forget(sys.modules.pop(f"nas_plugin_{request.param}").__name__)


def test_every_example_is_used() -> None:
    assert set(EXAMPLES) == {"mean", "npz", "depth"}


@pytest.mark.parametrize("example", ["mean"], indirect=True)
def test_block(example: None) -> None:
    genome = load_genome("lavit_digits").edit({"stages.0.core": "mean", "stages.0.tail": "softmax"})
    logits_BK = build(genome)(torch.randn(2, genome.image.channels, genome.image.size, genome.image.size))
    assert logits_BK.shape == (2, genome.classes) and logits_BK.isfinite().all()
    assert cost(genome).macs < cost("lavit_digits").macs


@pytest.mark.parametrize("example", ["npz"], indirect=True)
def test_data_source(example: None, tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    np.savez(file, x=np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8), dtype=np.uint8), y=np.arange(40) % 4)
    images = load(f"npz:{file}")
    assert (images.classes, images.channels, images.size) == (("0", "1", "2", "3"), 3, 8)


@pytest.mark.parametrize("example", ["depth"], indirect=True)
def test_metric(example: None) -> None:
    metric, genome = METRICS["depth"], load_genome("lavit_digits")
    assert metric.value is not None and metric.value(genome) == sum(stage.depth or 0 for stage in genome.stages)
    assert metric.budget
