"""The embedded digits and a preset small enough to train within a test."""

from __future__ import annotations

import pytest
import torch

from nas.data import ImageSet, load
from nas.genome import Genome, load_genome


@pytest.fixture(scope="session")
def digits() -> ImageSet:
    return load("digits")


@pytest.fixture(scope="session")
def few_digits() -> ImageSet:
    return load("digits", limit=192)


@pytest.fixture(scope="session")
def lavit() -> Genome:
    return load_genome("lavit_digits")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
