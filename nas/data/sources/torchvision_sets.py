"""torchvision's classification sets by name: `cifar10`, `fashion_mnist`, `flowers102`, ...

Files are looked for in `$NAS_DATA` (`~/.cache/nas/data`), in torchvision's own layout, and downloaded there only if
they are absent. A new set of the two shapes below is one line in SETS; torchvision's checksums guard what is read.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.cache import cache_file
from nas.data.cache import keep
from nas.data.encoded import ImageFiles
from nas.data.index import Paths
from nas.data.pictures import Arrays, Pictures
from nas.data.registry import Raw, source
from nas.environment import home
from nas.errors import DataError

TRAIN_TEST = {"train": {"train": True}, "test": {"train": False}}
NAMED = {"train": {"split": "train"}, "test": {"split": "test"}}
THREE = {"train": {"split": "train"}, "validation": {"split": "val"}, "test": {"split": "test"}}


@dataclass(frozen=True)
class TorchvisionSet:
    """`splits`: how torchvision's class is told which one. `files`: images are files, else arrays `.data`."""

    class_name: str
    splits: dict[str, dict[str, Any]] = field(default_factory=lambda: TRAIN_TEST)
    flip: bool = True
    files: bool = False


SETS = {
    "cifar10": TorchvisionSet("CIFAR10"),
    "cifar100": TorchvisionSet("CIFAR100"),
    "fashion_mnist": TorchvisionSet("FashionMNIST"),
    "kmnist": TorchvisionSet("KMNIST", flip=False),
    "mnist": TorchvisionSet("MNIST", flip=False),
    "stl10": TorchvisionSet("STL10", NAMED),
    "svhn": TorchvisionSet("SVHN", NAMED, flip=False),
    "usps": TorchvisionSet("USPS", flip=False),
    "country211": TorchvisionSet("Country211", {**THREE, "validation": {"split": "valid"}}, files=True),
    "dtd": TorchvisionSet("DTD", THREE, files=True),
    "eurosat": TorchvisionSet("EuroSAT", {"train": {}}, files=True),
    "fgvc_aircraft": TorchvisionSet("FGVCAircraft", THREE, files=True),
    "flowers102": TorchvisionSet("Flowers102", THREE, files=True),
    "food101": TorchvisionSet("Food101", NAMED, files=True),
    "imagenette": TorchvisionSet("Imagenette", {"train": {"split": "train"}, "test": {"split": "val"}}, files=True),
}


@source(*SETS)
def read(name: str) -> Raw:
    known = SETS[name]
    opened = {split: _open(name, known, options) for split, options in known.splits.items()}
    train = opened["train"]
    pictures = {split: _files(dataset) if known.files else _arrays(dataset) for split, dataset in opened.items()}
    names = getattr(train, "classes", None) or range(int(pictures["train"].labels.max()) + 1)
    classes = tuple(str(entry[0] if isinstance(entry, tuple) else entry) for entry in names)
    return Raw(name, classes, pictures["train"], pictures.get("validation"), pictures.get("test"), known.flip)


def _open(name: str, known: TorchvisionSet, options: dict[str, Any]) -> Any:
    from torchvision import datasets

    root = Path(os.environ.get("NAS_DATA") or home() / ".cache" / "nas" / "data").expanduser()
    if known.files:
        options = {**options, "loader": str}  # an item is then (path, label): nothing is decoded yet
    make = getattr(datasets, known.class_name)
    try:
        return make(root, download=False, **options)
    except (RuntimeError, OSError):
        pass  # absent, or a checksum is wrong
    except (ValueError, AssertionError, EOFError) as error:
        raise DataError(f"{name}: damaged files in {root} ({error}); delete them to download them again") from None
    try:
        with _alone(root):
            return make(root, download=True, **options)
    except (RuntimeError, OSError) as error:  # URLError is an OSError
        reason = " ".join(str(error).split())
        where = f"put torchvision's {known.class_name} files there, or set NAS_DATA to the folder that has them"
        raise DataError(f"{name} is not in {root} and cannot be downloaded ({reason}); {where}") from None


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One download at a time: the workers of a search may all find the set missing at once."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".download.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _arrays(dataset: Any) -> Pictures:
    """`.data` is (N, H, W), (N, H, W, C) or (N, C, H, W); labels are called `.targets` or `.labels`."""
    images = torch.as_tensor(np.asarray(dataset.data))
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] in (1, 3):
        images = images.permute(0, 3, 1, 2)
    labels = dataset.targets if hasattr(dataset, "targets") else dataset.labels
    images = images.contiguous()
    digest = hashlib.blake2b(images.numpy().data).hexdigest()
    path, shape = cache_file(["arrays", digest, list(images.shape)], ".images"), tuple(images.shape)
    mapped = keep(path, shape, np.arange(len(images)), lambda: images).images  # one copy for all workers
    return Arrays(mapped, np.asarray(labels, dtype=np.int64))


def _files(dataset: Any) -> Pictures:
    items = [dataset[i] for i in range(len(dataset))]
    return ImageFiles(
        Paths.of(Path(path) for path, _ in items), np.asarray([label for _, label in items], dtype=np.int64)
    )
