"""The limit on decoded pixels reaches the loader from every file and command that names data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

import nas
from nas.ablation.run import MAY_DIFFER
from nas.ablation.spec import parse_ablation
from nas.engine.lock import lock
from nas.errors import DataError, RunError, SpaceError
from nas.search import SearchSpec
from tests.data.conftest import write_folder  # noqa: F401  (a fixture)

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


def test_a_finished_training_keeps_its_pixels_and_names(
    tmp_path: Path,
    write_folder: Callable[..., Path],  # noqa: F811
) -> None:
    """Of an earlier version, whose weights do not say on which images: these are not known to be others."""
    out, source = tmp_path / "out", f"imagefolder:{write_folder(tmp_path / 'pets', {'cat': 30, 'dog': 30}, channels=1)}"
    settings = {"training.epochs": 1, "training.batch_size": 8, "classes": 2}
    nas.train_genome("lavit_digits", source, out=out, settings=settings, progress=False)
    before = (out / "genome.yaml").read_text()
    with safe_open(out / "weights.safetensors", framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    job = {key: value for key, value in json.loads(metadata["job"]).items() if key != "images_sha256"}
    save_file(tensors, out / "weights.safetensors", metadata | {"job": json.dumps(job)})
    write_folder(tmp_path / "pets", {"cat": 30, "dog": 30}, channels=1, seed=7)
    (tmp_path / "pets" / "dog").rename(tmp_path / "pets" / "wolf")
    nas.train_genome("lavit_digits", source, out=out, settings=settings, progress=False)
    assert (out / "genome.yaml").read_text() == before
    assert "dog" in before


def test_two_trainings_do_not_share_a_directory(tmp_path: Path) -> None:
    with lock(tmp_path, tmp_path), pytest.raises(RunError, match="busy: another process"):
        nas.train_genome("lavit_digits", "digits", out=tmp_path, settings={"training.epochs": 1}, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_damaged_image_of_the_test_split_is_found_before_anything_is_trained(
    tmp_path: Path,
    write_folder: Callable[..., Path],  # noqa: F811
) -> None:
    write_folder(tmp_path / "pets" / "train", {"cat": 30, "dog": 30}, channels=1)
    write_folder(tmp_path / "pets" / "test", {"cat": 5, "dog": 5}, channels=1, size=32)
    broken = tmp_path / "pets" / "test" / "dog" / "003.png"
    blob = broken.read_bytes()
    broken.write_bytes(blob[:80] + bytes(len(blob) - 80))  # its head is whole
    spec = SearchSpec.parse(SPACE | {"data": f"imagefolder:{tmp_path / 'pets'}", "image_size": 8})
    for command in (
        lambda: nas.run_search(spec, tmp_path / "run", progress=False),
        lambda: nas.preview_search(spec),
        lambda: nas.describe_data(spec.data, size=8),
    ):
        with pytest.raises(DataError, match=r"003\.png: a damaged image"):
            command()
    assert not (tmp_path / "run").exists()
