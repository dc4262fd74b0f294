"""The model that the tests of whole conversions convert."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.engine.single import train_genome


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"training.epochs": 8}
    return train_genome("mixed_digits", out=tmp_path_factory.mktemp("parent"), settings=settings, progress=False).file
