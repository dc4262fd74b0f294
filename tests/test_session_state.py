"""What a call of the Python API leaves of the user's session: all of it, and what the user draws next."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

import nas
from nas.device import torch_threads
from nas.torch_state import generators_kept

BRIEF = {"training.epochs": 1, "training.limit": 64, "training.batch_size": 16}
SPACE = {"parameters": {"drop_path": {"choice": [0.0, 0.1]}}, **BRIEF}  # quick to time: one graph
THEIRS = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
MODEL = nas.build("castling_digits")
SCRIPT = """
import os, sys
print("the script begins", flush=True)
import nas, torch
torch.set_num_threads(2)
torch.set_default_dtype(torch.float64)  # which all processes need
before = dict(os.environ), sys.excepthook, sys.modules["__main__"]
found = nas.train_genome("lavit_digits", out="out", settings={settings}, device="cpu", processes=2, progress=False)
assert (dict(os.environ), sys.excepthook, sys.modules["__main__"]) == before
print(found.epochs, "epoch,", torch.get_num_threads(), "threads")
"""


def session() -> dict[str, Any]:
    """Libraries have filters for warnings of their own kinds as they are imported; others are the user's."""
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),  # noqa: NPY002  (the state that users have)
        "random": random.getstate(),
        "threads": torch.get_num_threads(),
        "environment": dict(os.environ),
        "hook": sys.excepthook,
        "filters": [each for each in warnings.filters if each[2].__module__ == "builtins"],
        "dtype": torch.get_default_dtype(),
        "directory": os.getcwd(),
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a genome beside its weights."""
    out = tmp_path_factory.mktemp("trained")
    return nas.train_genome("lavit_digits", out=out, settings=BRIEF, device="cpu", progress=False).file


def _image(file: Path) -> Path:
    Image.new("L", (8, 8)).save(file)
    return file


def train(trained: Path, out: Path, processes: int = 1) -> None:
    settings = BRIEF | {"training.mixup": 0.8}
    nas.train_genome("lavit_digits", out=out, settings=settings, device="cpu", processes=processes, progress=False)


CALLS: dict[str, Callable[[Path, Path], object]] = {
    "train_genome": train,
    "train_genome by two": lambda trained, out: train(trained, out, processes=2),
    "train_genome from a model": lambda trained, out: nas.train_genome(
        start=str(trained), out=out, settings=BRIEF, device="cpu", progress=False
    ),
    "diagnose": lambda trained, out: nas.diagnose(trained, images=16, device="cpu"),
    "build with weights": lambda trained, out: nas.build(trained, weights=True, num_classes=3),
    "inherit": lambda trained, out: nas.inherit("lavit_digits", str(trained)),
    "from_timm and to_timm": lambda trained, out: nas.to_timm(nas.from_timm(THEIRS)),
    "deploy": lambda trained, out: nas.deploy(MODEL),
    "throughput": lambda trained, out: nas.throughput(MODEL, seconds=0.01),
    "export": lambda trained, out: nas.export(trained, out.with_suffix(".pt2")),
    "export of a folder": lambda trained, out: nas.export(trained, f"{out}/"),
    "load": lambda trained, out: nas.load(trained),
    "predict": lambda trained, out: [*nas.predict(trained, _image(out.with_suffix(".png")))],
    "preview_search": lambda trained, out: nas.preview_search("lavit_split", settings=SPACE),
    "measure_latency": lambda trained, out: nas.measure_latency("lavit_split", out, device="cpu", settings=SPACE),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_leaves_the_session_as_it_was(
    name: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "the user's own")
    with torch_threads(2), generators_kept():
        torch.manual_seed(7)
        before = session()
        CALLS[name](trained, tmp_path / "out")
        assert session() == before


def test_what_a_block_draws_follows_from_the_callers_seed() -> None:
    with generators_kept():
        torch.manual_seed(7)
        with generators_kept():
            inside = torch.rand(3)
        assert torch.equal(torch.rand(3), inside)
        with pytest.raises(ZeroDivisionError), generators_kept():
            raise ZeroDivisionError(torch.manual_seed(0))
        after = torch.rand(3)
        torch.manual_seed(7)
        assert torch.equal(torch.rand(6)[3:], after)


def test_a_script_without_a_guard_runs_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(settings=BRIEF))
    # A user's own variable would be kept as well; without one, none may be left.
    environment = {name: value for name, value in os.environ.items() if name != "GLOO_SOCKET_IFNAME"}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script begins", "1 epoch, 2 threads"]
