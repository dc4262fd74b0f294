"""The examples of docs/extending.md, written to files, loaded as plug-ins and used."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from nas.ablation import load_ablation
from nas.data import load
from nas.genome import load_genome
from nas.metrics import METRICS
from nas.model import build
from nas.plugins import load_plugins
from nas.profiling import cost
from nas.registry import Registry
from nas.search import SearchSpec, load_space
from tests.search.simulation import Simulation

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
FENCED = r"(?s)(?<=```python\n)# (\w+)\.py: .*?(?=```)"
EXAMPLES = {match[1]: match[0] for match in re.finditer(FENCED, PAGE.read_text())}
FILES = {match[1]: match[0] for match in re.finditer(r"(?s)(?<=```yaml\n)# (\w+)\.yaml\n.*?(?=```)", PAGE.read_text())}


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """The example that the test is parametrised with is loaded."""
    file = tmp_path / f"{request.param}.py"
    file.write_text(EXAMPLES[request.param])
    load_plugins([file])
    yield
    Registry.forget(sys.modules.pop(f"nas_plugin_{request.param}").__name__)


def test_every_example_is_used() -> None:
    assert set(EXAMPLES) == {"mean", "npz", "depth", "steps", "bar"}
    assert set(FILES) == {"my_space", "my_table"}


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


def searched(tmp_path: Path, name: str, **keys: object) -> pd.DataFrame:
    """The table of a search without training, sampled with three workers, and again with one: the same suggestions."""
    space = load_space(written(tmp_path, "my_space"))
    spec = SearchSpec.parse(space.model_dump(mode="json", exclude={"sampler", "scheduler"}) | keys)
    tables = [Simulation(spec, tmp_path / f"{name}-{n}", workers=n, order=n).run().table() for n in (1, 3)]
    assert tables[0]["hash"].tolist() == tables[1]["hash"].tolist()
    return tables[0]


def written(folder: Path, name: str) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(FILES[name])
    return file


@pytest.mark.parametrize("example", ["steps"], indirect=True)
def test_sampler(example: None, tmp_path: Path) -> None:
    table = searched(tmp_path, "steps", sampler={"name": "steps", "of": 2}, trials=4, budget={})
    assert set(table["stages.0.split"][1:]) | set(table["stages.1.split"][1:]) == {1, 3}, "after the base, the ends"


@pytest.mark.parametrize("example", ["bar"], indirect=True)
def test_scheduler(example: None, tmp_path: Path) -> None:
    scheduler = {"name": "bar", "accuracy": 0.77}
    table = searched(tmp_path, "bar", scheduler=scheduler, sampler="random", trials=8, training={"epochs": 6})
    trained = {state: rows for state, rows in table.groupby("state") if state != "infeasible"}
    assert trained.keys() == {"complete", "pruned"}
    assert set(trained["complete"]["epochs"]) == {6} and set(trained["pruned"]["epochs"]) == {3}
    at_the_pause = trained["complete"]["accuracy"] * (1 - 0.5**3)  # as the simulation has it
    assert at_the_pause.min() >= 0.77 > trained["pruned"]["accuracy"].max()


def test_space_and_ablation(tmp_path: Path) -> None:
    space = load_space(written(tmp_path, "my_space"))
    assert space.name == "my_space" and space.space(space.genome()).finite
    table = load_ablation(str(written(tmp_path, "my_table")))
    bare, local = table.arms_of(table.genome())
    assert cost(bare.genome).params < cost(local.genome).params
