"""The wheel, as someone has it who has no checkout: built, installed into an empty folder, and used from another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from nas.plain_yaml import read_yaml

ROOT = Path(__file__).parents[1]
QUICK = "training.epochs=1 training.limit=200 training.batch_size=50 workers.count=1"
EMPTY = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_from_the_wheel_to_a_loaded_winner(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling is in the extra `test`")
    site, desk = tmp_path / "site", tmp_path / "desk"
    desk.mkdir()
    env = os.environ | EMPTY | {"OMP_NUM_THREADS": "1"}

    def call(*command: object, cwd: Path = desk) -> str:
        done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python = sys.executable
    call(python, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    env |= {"PYTHONPATH": str(site), "PATH": f"{site / 'bin'}:{env['PATH']}"}  # before the checkout's own, if installed
    assert (site / "nas" / "py.typed").exists()
    for folder in ("search_spaces", "ablations"):
        assert names(site / "nas" / folder) == names(ROOT / folder) != []
    assert call(python, "-c", "import nas; print(nas.__file__)").strip() == str(site / "nas" / "__init__.py")

    search = ["nas", "search", "lavit_split", "--trials", 2, "--run", "tiny", "--set", QUICK]
    assert "Pareto front" in call(*search)
    record = read_yaml(desk / "results" / "tiny" / "run.yaml")
    assert record["command"] == f"nas search lavit_split --trials 2 --run tiny --set '{QUICK}'"
    assert record["commit"] is None
    arms = "arms={all: {}} factors={} baseline=null"
    call("nas", "ablate", "lavit_split", "--run", "table", "--set", f"{QUICK} seeds=1 {arms}")
    assert len(pd.read_csv(desk / "results" / "table" / "table.csv")) == 1
    assert call("nas", "report", "tiny") == "results/tiny/report.html\n"
    best = pd.read_csv(desk / "results" / "tiny" / "front.csv")["winner"][0]
    code = f"import nas; print(nas.build('results/tiny/winners/{best}.yaml', weights=True).num_classes)"
    assert call(python, "-c", code) == "10\n"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
