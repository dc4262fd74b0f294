"""Small datasets on disk, and a cache of decoded images of each test's own."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".cache"))


def pixels(count: int, *, size: int = 8, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Noise, uint8 (N, H, W) or (N, H, W, 3)."""
    shape = (count, size, size) if channels == 1 else (count, size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def noise() -> Callable[..., np.ndarray]:
    return pixels


@pytest.fixture
def write_parquet() -> Callable[..., Path]:
    """write(path, blobs or images, labels, names=..., plain=...): one file in the layout of the hub; returns it."""

    def write(
        path: Path,
        images: Sequence[np.ndarray | bytes | None],
        labels: Sequence[int | None],
        *,
        names: Sequence[str] | None = ("cat", "dog"),
        plain: bool = False,
    ) -> Path:
        blobs = [png(image) if isinstance(image, np.ndarray) else image for image in images]
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        column = pa.array(blobs) if plain else pa.array([{"bytes": b, "path": None} for b in blobs], struct)
        table = pa.table({"image": column, "label": pa.array(labels, pa.int64())})
        if names is not None:
            label = {"names": list(names), "_type": "ClassLabel"}
            features = {"image": {"_type": "Image"}, "label": label}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=7)
        return path

    return write


@pytest.fixture
def write_folder() -> Callable[..., Path]:
    """write(folder, {class: count}, size=...): class folders of PNG noise; returns the folder."""

    def write(folder: Path, counts: dict[str, int], *, size: int = 8, channels: int = 3, seed: int = 0) -> Path:
        for index, (name, count) in enumerate(counts.items()):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for i, image in enumerate(pixels(count, size=size, channels=channels, seed=seed + index)):
                (folder / name / f"{i:03d}.png").write_bytes(png(image))
        return folder

    return write
