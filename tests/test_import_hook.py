"""What importing loads, and that the presets are in timm's registry, whichever of the two packages comes first."""

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
# Looking for timm does not use the hook up, and our own modules import timm halfway through their own import.
NAS_FIRST = """
import importlib.util, sys
import nas
assert not {'torch', 'timm', 'pydantic', 'nas.timm'} & set(sys.modules)
assert importlib.util.find_spec('timm') is not None
from nas.model import build
import timm
"""
WITHOUT_HOOK = """
import sys
import nas
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder) is not nas.import_hook.TimmFinder]
"""
# nas.model is below nas.timm and does without it; importing nas.timm registers by itself.
EXPLICIT = (
    WITHOUT_HOOK
    + """
import nas.model
assert type(nas.model.build("mixed_digits")) is nas.model.Model
assert not [name for name in sys.modules if name.startswith("nas.timm")]
import timm
assert not timm.is_model("lavit_t")
import nas.timm
"""
)


@pytest.mark.parametrize("imports", [TIMM_FIRST, NAS_FIRST, EXPLICIT], ids=["timm first", "nas first", "explicit"])
def test_presets_are_registered(imports: str) -> None:
    done = subprocess.run([sys.executable, "-c", imports + REGISTERED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Overwriting" not in done.stderr


def test_the_hook_finds_timm_alone() -> None:
    finder = TimmFinder()
    assert finder.find_spec("nas.timm", nas.__path__) is None
    assert finder.find_spec("timm.layers", None) is None
    found = finder.find_spec("timm", None)
    assert found is not None and found.name == "timm"
