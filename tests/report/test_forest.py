"""The forest's process gives what this one would, and keeps scikit-learn out of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nas.report import forest

ELSEWHERE = """
import sys
import numpy as np
from nas.report.forest import losses_apart
x_NP = np.arange(40.0).reshape(20, 2)
assert losses_apart(x_NP, x_NP[:, 0], 2)[0].shape == (2, 2)
assert "sklearn" not in sys.modules
"""


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    x_NP = np.random.default_rng(0).normal(size=(60, 3))
    return x_NP, x_NP[:, 0] + 0.1 * x_NP[:, 2]


def test_the_process_gives_the_same_figures(rows: tuple[np.ndarray, np.ndarray], monkeypatch) -> None:
    here = forest.losses(*rows, splits=2)
    monkeypatch.setattr(forest, "losses", None)
    apart = forest.losses_apart(*rows, splits=2)
    for found, expected in zip(apart, here, strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/false", "/bin/true", "/bin/echo", None])
def test_without_a_process_it_is_computed_here(rows, monkeypatch, program: str) -> None:
    monkeypatch.setattr(sys, "executable", program)
    losses_SP, r2_S = forest.losses_apart(*rows, splits=2)
    assert losses_SP.shape == (2, 3) and r2_S.shape == (2,)
    assert (losses_SP[:, 0] > losses_SP[:, 1]).all()


def test_the_process_answers_whatever_is_printed_or_on_the_path(rows, monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello')")
    monkeypatch.setattr(sys, "path", [tmp_path, *sys.path])  # as a path, not as text
    monkeypatch.setattr(forest, "losses", None)
    assert forest.losses_apart(*rows, splits=2)[0].shape == (2, 3)


def test_scikit_learn_is_not_imported_here() -> None:
    subprocess.run([sys.executable, "-c", ELSEWHERE], check=True)
