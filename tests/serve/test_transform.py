"""The transform of a model gives bit for bit what evaluation feeds it."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from nas.data import ImageSet, Preprocess, load
from nas.errors import DataError
from nas.serve.transform import Transform
from tests.serve.conftest import write_photographs

COLOUR = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def transform_of(images: ImageSet) -> Transform:
    return Transform(images.preprocess, images.test.subset.form)


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("grey"), 20, kinds=(1,))


@pytest.mark.parametrize("resident_bytes", [2**30, 0], ids=["resident", "streaming"])
@pytest.mark.parametrize(
    ("channels", "size", "preprocess"),
    [
        (3, 8, None),
        (1, 8, None),
        (3, 12, Preprocess(**COLOUR, interpolation="bicubic", crop=0.875)),
        (3, 24, Preprocess(**COLOUR, crop=0.9)),
        (1, 13, Preprocess(mean=(0.5,), std=(0.3,), interpolation="bicubic")),
    ],
)
def test_a_file_is_what_evaluation_sees(
    photographs: Path, grey: Path, channels: int, size: int, preprocess: Preprocess | None, resident_bytes: int
) -> None:
    folder = photographs if channels == 3 else grey
    images = load(f"imagefolder:{folder}", size=size, preprocess=preprocess, resident_bytes=resident_bytes)
    assert images.channels == channels
    transform, subset = transform_of(images), images.test.subset
    evaluated_NCSS = torch.cat([images_BCSS for images_BCSS, _ in images.test.batches(7)])
    files = [subset.pictures.paths[index] for index in subset.indices]
    assert len(files) == len(evaluated_NCSS) >= 8
    for file, expected_CSS in zip(files, evaluated_NCSS, strict=True):
        assert torch.equal(transform(file), expected_CSS), file


def test_a_path_its_bytes_and_its_image_are_alike(photographs: Path) -> None:
    transform = transform_of(load(f"imagefolder:{photographs}", size=8))
    for file in sorted((photographs / "top").iterdir())[:6]:
        expected = transform(file)
        blob = file.read_bytes()
        for same in (str(file), blob, bytearray(blob), memoryview(blob), Image.open(io.BytesIO(blob))):
            assert torch.equal(transform(same), expected)
        assert expected.dtype == torch.float32 and expected.shape == (3, 8, 8)


def test_it_serves_a_data_loader(photographs: Path) -> None:
    images = load(f"imagefolder:{photographs}", size=8)
    transform = pickle.loads(pickle.dumps(transform_of(images)))
    dataset = ImageFolder(photographs, transform, loader=Path)
    batch_BCSS, labels_B = next(iter(DataLoader(dataset, batch_size=len(dataset))))
    assert torch.equal(batch_BCSS[images.test.subset.indices], next(images.test.batches(100))[0])
    assert torch.equal(labels_B[images.test.subset.indices], images.test.labels_N)


def test_what_cannot_be_read_is_named(tmp_path: Path, photographs: Path) -> None:
    transform = transform_of(load(f"imagefolder:{photographs}", size=8))
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(next((photographs / "top").glob("*.jpg")).read_bytes()[:300])
    with pytest.raises(DataError, match=rf"^{broken}: a damaged image"):
        transform(broken)
    with pytest.raises(DataError, match=rf"^{tmp_path}/none\.jpg: cannot be read: No such file"):
        transform(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="not an image that can be read"):
        transform(b"text")
