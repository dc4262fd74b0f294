"""What was loaded is said, for people and as data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from nas.account import account_lines
from nas.data import account_of, load
from nas.plain_yaml import dump_yaml, parse_yaml
from tests.data.conftest import pixels

Write = Callable[..., Path]


def test_images_that_are_no_longer_the_same_have_another_digest(tmp_path: Path, write_folder: Write) -> None:
    folder = write_folder(tmp_path / "pets", {"cat": 12, "dog": 12, "owl": 12})
    cat, dog = folder / "cat" / "000.png", folder / "dog" / "000.png"
    dog.write_bytes(dog.read_bytes() + b" ")  # two images never have one size; noise as small as this may
    source, digests = f"imagefolder:{folder}", []

    def exchange(one: Path, other: Path) -> None:
        one.rename(tmp_path / "aside")
        other.rename(one)
        (tmp_path / "aside").rename(other)

    def digest() -> str:
        return load(source).digest

    digests.append(digest())
    for change in (
        lambda: exchange(cat, dog),
        lambda: exchange(folder / "cat", folder / "owl"),
        lambda: (folder / "owl").rename(folder / "zebra"),
        lambda: (folder / "dog" / "012.png").write_bytes(cat.read_bytes()),
        lambda: (folder / "dog" / "003.png").unlink(),
    ):
        change()
        digests.append(digest())
    assert len(set(digests)) == len(digests)
    assert load(source).digest == digests[-1]
    folder.rename(tmp_path / "moved")
    assert load(f"imagefolder:{tmp_path / 'moved'}").digest == digests[-1], "the same on another machine"
    assert load("digits").digest == load("digits").digest != load("digits", seed=1).digest


def test_images_of_the_same_names_and_sizes_have_another_digest(tmp_path: Path) -> None:
    digests = []
    for seed in (0, 0, 1):
        for index, image in enumerate(pixels(24, seed=seed)):
            file = tmp_path / "abc"[index % 3] / f"{index}.bmp"
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(file)
        digests.append(load(f"imagefolder:{tmp_path}").digest)
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("folders", "options", "origins"),
    [
        (
            {"cat": 20, "dog": 10},
            {"seed": 3},
            (
                "what is left, less validation",
                "carved, 0.2 of the training images by class, with seed 3",
                "carved, 0.2 of",
            ),
        ),
        (
            {"train/cat": 10, "train/dog": 10, "Valid/cat": 4, "Valid/dog": 4},
            {"limit": 12},
            (
                "the dataset's own (train/), 12 images drawn with seed 0, less validation",
                "carved, 0.2",
                "the dataset's validation split (Valid/), as it has no test split with labels",
            ),
        ),
        (
            {"train/cat": 10, "train/dog": 10, "dev/cat": 4, "dev/dog": 4, "test/cat": 2, "test/dog": 2},
            {"validation": 0},
            (
                "the dataset's own (train/) and its validation split (dev/)",
                "none: its images are trained on",
                "the dataset's own (test/)",
            ),
        ),
        (
            {"train/cat": 10, "train/dog": 10, "dev/cat": 4, "dev/dog": 4, "test/cat": 2, "test/dog": 2},
            {},
            ("the dataset's own (train/)", "the dataset's own (dev/)", "the dataset's own (test/)"),
        ),
    ],
)
def test_how_each_split_came_about(
    tmp_path: Path, write_folder: Write, folders: dict[str, int], options: dict, origins: tuple[str, ...]
) -> None:
    images = load(f"imagefolder:{write_folder(tmp_path, folders)}", **options)
    account = account_of(images)
    for split, origin in zip(("train", "validation", "test"), origins, strict=True):
        assert account["origins"][split].startswith(origin)
        assert account["images"][split] == len(getattr(images, split))
    per_split = zip(*account["classes"].values(), strict=True)
    assert [sum(counts) for counts in per_split] == list(account["images"].values())


def test_it_is_data_and_words(tmp_path: Path, write_folder: Write) -> None:
    write_folder(tmp_path, {"no": 20, "0": 10}, channels=1)
    (tmp_path / "no/labels.csv").write_text("")
    account = account_of(load(f"imagefolder:{tmp_path}", resident_bytes=0))
    assert json.loads(json.dumps(account)) == account == parse_yaml(dump_yaml(account))
    words = dict(account_lines(account))
    assert words["data"] == f"imagefolder:{tmp_path}: 30 images, 2 classes, 8×8 pixels, 1 channel (grey)"
    assert words["classes"] == "0 10, no 20"
    assert words["train"].endswith("; decoded while it trains")
    assert words["note"] == "skipped 1 files that are no images by their ending (1 .csv)"
    write_folder(tmp_path, {f"class{k:03d}": 5 for k in range(30)})
    words = dict(account_lines(account_of(load(f"imagefolder:{tmp_path}"))))
    assert words["classes"] == "0, class000, class001, class002, ...: 5 to 20 images each"


def test_images_without_labels(tmp_path: Path, write_folder: Write) -> None:
    account = account_of(load(f"images:{write_folder(tmp_path, {'a': 30})}"))
    assert account["classes"] == {} and "no labels" in dict(account_lines(account))["data"]
