"""The keys of a trained model: how pixels reach it, and what its classes are called."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import GenomeError
from nas.genome import Genome, load_genome
from nas.plain_yaml import parse_yaml

LAVIT = load_genome("lavit_digits")
PIXELS = {"mean": [0.3], "std": [0.37]}
SERVED = LAVIT.edit({"preprocess": PIXELS, "class_names": [f"class {label}" for label in range(10)]})


def test_they_are_outside_the_hash() -> None:
    assert SERVED.hash == LAVIT.hash


def test_all_four_values_are_written() -> None:
    assert parse_yaml(SERVED.to_yaml())["preprocess"] == PIXELS | {"interpolation": "bilinear", "crop": 1.0}
    assert "preprocess" not in LAVIT.to_yaml() and "class_names" not in LAVIT.to_yaml()


NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9), min_size=10, max_size=10)


@settings(max_examples=20)
@given(st.floats(0, 1), st.floats(1e-9, 1), st.floats(0.01, 1), NAMES)
def test_they_survive_a_file_exactly(mean: float, std: float, crop: float, names: list[str]) -> None:
    pixels = {"mean": [mean], "std": [std], "interpolation": "bicubic", "crop": crop}
    genome = LAVIT.edit({"preprocess": pixels, "class_names": names})
    assert Genome.from_yaml(genome.to_yaml()) == genome


def test_an_edit_drops_what_no_longer_fits() -> None:
    assert SERVED.edit({"classes": 3}).class_names is None
    assert SERVED.edit({"classes": 3}).preprocess == SERVED.preprocess
    assert SERVED.edit({"classes": 10}).class_names == SERVED.class_names
    assert SERVED.edit({"classes": 2, "class_names": ["a", "b"]}).class_names == ("a", "b")
    assert SERVED.edit({"image.channels": 3}).preprocess is None
    assert SERVED.edit({"image.size": 16}).preprocess == SERVED.preprocess
    both = {"image.channels": 2, "preprocess.mean": [0.1, 0.2], "preprocess.std": [0.3, 0.4]}
    assert SERVED.edit(both).preprocess.std == (0.3, 0.4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["a"]}, "class_names: expected 10 names, found 1"),
        ({"class_names": "abc"}, "class_names: expected a list"),
        ({"preprocess.std": [0.1, 0.2]}, "preprocess: expected as many values of std as of mean, found 2 and 1"),
        ({"preprocess": {"mean": [0.1] * 3, "std": [0.2] * 3}}, "preprocess: expected values for image.channels 1"),
        ({"preprocess.means": [0.1]}, r"preprocess.means: unknown key; .*\(did you mean mean\?\)"),
        ({"preprocess.crop": 0}, "preprocess.crop: expected more than 0, found 0"),
        ({"preprocess.interpolation": "cubic"}, "preprocess.interpolation: expected 'bilinear' or 'bicubic'"),
    ],
)
def test_mistakes(changes: dict, message: str) -> None:
    with pytest.raises(GenomeError, match=message):
        SERVED.edit(changes)
