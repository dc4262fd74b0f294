"""What importing loads, and that the presets are in timm's registry, whichever of the two packages comes first.

timm imports torchvision, and this torch's compiler: two seconds and 200 MB, which drivers and commands do without.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import nas
from nas.import_hook import TimmFinder

REGISTERED = """
assert timm.is_model("lavit_t") and timm.is_model("castling_digits")
assert timm.create_model("mixed_digits", num_classes=3).head.out_features == 3
"""
TIMM_FIRST = "import timm, nas"
# Looking for timm does not use the hook up.
NAS_FIRST = """
import importlib.util, sys
import nas
assert not {'torch', 'timm', 'pydantic', 'nas.timm'} & set(sys.modules)
assert importlib.util.find_spec('timm') is not None
import timm
"""
# nas.model is below nas.timm and does without it.
PARTS_FIRST = """
import sys
import nas.model
assert type(nas.model.build("mixed_digits")) is nas.model.Model
assert not [name for name in sys.modules if name.startswith("nas.timm")]
import nas.timm
assert "timm" not in sys.modules
import timm
"""
# Past the hook, importing nas.timm registers.
PAST_THE_HOOK = """
import sys
import nas
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not nas.import_hook.TimmFinder]
import timm
assert not timm.is_model("lavit_t")
import nas.timm
"""
# Importing the training loop imports timm halfway.
HALFWAY = """
import sys
import nas.train.loop
timm = sys.modules["timm"]
"""
# Every client of the engine, and a model with the two layers that timm has as well.
LIGHT = """
import sys
import nas.api, nas.search.run, nas.ablation.run, nas.convert.run, nas.engine.training, nas.engine.ray_tune, nas.serve
genome = nas.load_genome("lavit_digits").edit({"drop_path": 0.1, "layer_scale": 0.1})
nas.deploy(nas.build(genome))
nas.cost(genome)
nas.load_space("lavit_split")
nas.load_data("digits")
heavy = {"timm", "torchvision", "torch._dynamo", "sympy", "matplotlib", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("imports", [TIMM_FIRST, NAS_FIRST, PARTS_FIRST, PAST_THE_HOOK, HALFWAY])
def test_presets_are_registered(imports: str) -> None:
    done = subprocess.run([sys.executable, "-c", imports + REGISTERED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Overwriting" not in done.stderr


def test_a_driver_does_without_timm() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_hook_finds_timm_alone() -> None:
    finder = TimmFinder()
    assert finder.find_spec("nas.timm", nas.__path__) is None
    assert finder.find_spec("timm.layers", None) is None
    found = finder.find_spec("timm", None)
    assert found is not None and found.name == "timm"
