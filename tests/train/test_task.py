"""The limit on decoded pixels reaches the loader from every file and command that names data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import nas
from nas.ablation.run import MAY_DIFFER
from nas.ablation.spec import parse_ablation
from nas.errors import DataError, SpaceError
from nas.search import SearchSpec

SPACE = {"base": "lavit_digits", "parameters": {"stages.0.split": {"int": [1, 3]}}}
ABLATION = {"base": "lavit_digits", "arms": {"one": {}, "two": {"stages.0.split": 1}}}


@pytest.mark.parametrize(
    "parse", [lambda keys: SearchSpec.parse(SPACE | keys), lambda keys: parse_ablation(ABLATION | keys)]
)
def test_a_space_and_an_ablation_set_the_limit(
    parse: Callable[..., SearchSpec], tmp_path: Path, large_images: str
) -> None:
    keys = {"data": large_images, "image_size": 8}
    assert parse(keys).task.load().size == 8
    assert parse(keys | {"max_pixels": 400}).task.load().size == 8
    with pytest.raises(DataError, match=r"an image of 400 pixels; at most 399 .* \(max_pixels: 400 in a space"):
        parse(keys | {"max_pixels": 399}).task.load()
    with pytest.raises(SpaceError, match=r"^max_pixels: "):
        parse(keys | {"max_pixels": 0})
    assert "max_pixels" in MAY_DIFFER


def test_a_single_training_has_it_as_an_argument(tmp_path: Path, large_images: str) -> None:
    with pytest.raises(DataError, match="--max-pixels of `nas train`"):
        nas.train_genome("lavit_digits", large_images, out=tmp_path / "out", max_pixels=399)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def large_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of grey images of 20×20."""
    import numpy as np
    from PIL import Image

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))
    for label in "ab":
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(8):
            pixels = np.full((20, 20), 9 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / label / f"{number}.png")
    return f"imagefolder:{tmp_path}/images"
