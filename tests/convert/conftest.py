"""What the tests of whole conversions share: a trained model, and its conversion that nothing interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas.convert.run import ConversionResult, convert
from nas.engine import Pool
from nas.engine.single import train_genome
from tests.convert.small import spec


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = {"training.epochs": 8}
    return train_genome("mixed_digits", out=tmp_path_factory.mktemp("parent"), settings=settings, progress=False).file


@pytest.fixture(scope="session")
def whole(parent: Path, pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> ConversionResult:
    return convert(spec(parent, workers={}), tmp_path_factory.mktemp("whole") / "run")
