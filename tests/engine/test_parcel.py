"""What is sent to workers may hold classes of plug-ins, which the worker does not know before it opens the parcel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.engine.parcel import Parcel
from nas.genome import load_genome

PLUGIN = """
from nas.metrics import metric

class Config:
    rank = 3

@metric("depth_in_a_parcel", direction="min", known="formula", heading="layers", whole=True)
def depth(genome):
    return 1
"""
PACKED = """
import pickle, sys
from pathlib import Path
from nas.engine.parcel import Parcel
from nas.genome import load_genome
from nas.plugins import load_plugins
load_plugins(["of_a_parcel.py"])
config = sys.modules["nas_plugin_of_a_parcel"].Config()
Path("parcel").write_bytes(pickle.dumps(Parcel.of({"config": config, "genome": load_genome("lavit_digits")})))
"""
OPENED = """
import pickle
from pathlib import Path
content = pickle.loads(Path("parcel").read_bytes()).open()
print(type(content["config"]).__module__, content["genome"].hash)
"""


def test_a_process_that_knows_no_plugin_opens_it(tmp_path: Path) -> None:
    def run(script: str) -> list[str]:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", script]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    (tmp_path / "of_a_parcel.py").write_text(PLUGIN)
    run(PACKED)
    (tmp_path / "of_a_parcel.py").unlink()  # as on another machine
    assert run(OPENED) == ["nas_plugin_of_a_parcel", load_genome("lavit_digits").hash]


def test_what_holds_no_plugin_is_itself() -> None:
    assert Parcel.of([1, "two"]).open() == [1, "two"]


@pytest.mark.parametrize("name", ["../../esc", ".hidden", "a/b", ""])
def test_a_candidates_name_is_no_path(name: str) -> None:
    from nas.convert.spec import ConversionSpec
    from nas.errors import SpaceError

    with pytest.raises(SpaceError, match="expected a name of letters"):
        ConversionSpec.parse({"start": "x.yaml", "candidates": {name: {"core": "linear_angular"}}})


@pytest.mark.parametrize("limit", ["0x", "1.2.3x", ".x", 0, -1, "nan"])
def test_a_share_that_is_none_is_refused_at_once(limit: object) -> None:
    from nas.convert.spec import ConversionSpec
    from nas.errors import SpaceError

    with pytest.raises(SpaceError, match=r"expected (a number, or a share|more than 0)"):
        ConversionSpec.parse({"start": "x.yaml", "budget": {"macs": limit}})
