"""Caches of images under attack: whatever has happened to their files, the images are right."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nas.cache import cache_file, locked
from nas.data import cache, load
from nas.data.cache import DecodedImages, keep
from nas.data.sources import parquet
from nas.errors import DataError

SHAPE = (40, 3, 4, 4)
EVERY = np.arange(40)
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8))
SIZE = IMAGES.numel()
Bytes = Callable[[bytes], bytes]


def other_file(folder: Path) -> bytes:
    """A whole cache file of the same form: other images under another name."""
    keep(folder / "other.images", SHAPE, EVERY, lambda: 255 - IMAGES)
    return (folder / "other.images").read_bytes()


ATTACKS: dict[str, Bytes] = {
    "zeroed": lambda b: bytes(len(b)),
    "images zeroed": lambda b: bytes(SIZE) + b[SIZE:],
    "digests zeroed": lambda b: b[:SIZE] + bytes(len(b) - SIZE),
    "first and last image swapped": lambda b: b[SIZE - 48 : SIZE] + b[48 : SIZE - 48] + b[:48] + b[SIZE:],
    "shards swapped": lambda b: b[480:960] + b[:480] + b[960:],
    "shards and their digests swapped": lambda b: (
        b[480:960] + b[:480] + b[960:SIZE] + b[SIZE + 32 : SIZE + 64] + b[SIZE : SIZE + 32] + b[SIZE + 64 :]
    ),
    "shifted by an image": lambda b: b[48:SIZE] + b[:48] + b[SIZE:],
    "shifted by a byte": lambda b: b[-1:] + b[:-1],
    "cut": lambda b: b[:-1],
    "cut in the middle": lambda b: b[: SIZE // 2],
    "images alone": lambda b: b[:SIZE],
    "longer": lambda b: b + b"\0",
    "empty": lambda b: b"",
    "one byte": lambda b: b"x",
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cache, "SHARD_BYTES", 480)  # ten images
    keep(tmp_path / "some.images", SHAPE, EVERY, lambda: IMAGES)
    return tmp_path / "some.images"


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_damaged_file_is_decoded_again(file: Path, attack: str, caplog: pytest.LogCaptureFixture) -> None:
    whole = file.read_bytes()
    file.write_bytes(ATTACKS[attack](whole))
    assert torch.equal(keep(file, SHAPE, EVERY, lambda: IMAGES).images, IMAGES)
    assert [record.getMessage() for record in caplog.records] == [f"{file} is damaged: its images are decoded again"]
    assert file.read_bytes() == whole


@given(st.integers(0, SIZE + 4 * 32 + 32 - 1), st.integers(1, 255))
def test_one_wrong_byte_anywhere_is_found(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    folder = tmp_path_factory.mktemp("flip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "SHARD_BYTES", 480)
        keep(folder / "some.images", SHAPE, EVERY, lambda: IMAGES)
        blob = bytearray((folder / "some.images").read_bytes())
        blob[place] ^= change
        (folder / "some.images").write_bytes(blob)
        assert torch.equal(keep(folder / "some.images", SHAPE, EVERY, lambda: IMAGES).images, IMAGES)


def test_a_file_of_other_images_dtype_or_shape_is_not_believed(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(other_file(file.parent))
    assert torch.equal(keep(file, SHAPE, EVERY, lambda: IMAGES).images, IMAGES)
    for shape in ((40, 3, 2, 8), (20, 6, 4, 4), (3, 40, 4, 4), (41, 3, 4, 4)):
        assert DecodedImages.open(file, shape) is None
    for array in (IMAGES.numpy(), IMAGES.numpy().astype(np.float32), IMAGES.numpy().view(np.int8)):
        with file.open("wb") as stream:
            np.save(stream, array)
        assert torch.equal(keep(file, SHAPE, EVERY, lambda: IMAGES).images, IMAGES)
    file.unlink()
    assert torch.equal(keep(file, SHAPE, EVERY, lambda: IMAGES).images, IMAGES)
    assert file.read_bytes() == whole


def test_a_shard_is_checked_when_it_is_first_asked_for_and_not_again(file: Path) -> None:
    images = DecodedImages.open(file, SHAPE)
    blob = bytearray(file.read_bytes())
    blob[15 * 48] ^= 1  # in image 15
    with file.open("r+b") as stream:
        stream.write(blob)
    assert images is not None
    assert images.intact(np.array([0, 9, 20, 39]))
    assert not images.intact(np.array([10]))
    assert images.intact(np.array([], dtype=np.int64))
    blob[0] ^= 1
    with file.open("r+b") as stream:
        stream.write(blob)
    assert images.intact(np.array([5])), "known from before"


def test_no_images_are_kept_as_well(tmp_path: Path) -> None:
    for _ in range(2):
        assert keep(tmp_path / "none.images", (0, 3, 4, 4), EVERY[:0], lambda: IMAGES[:0]).images.shape == (0, 3, 4, 4)


@pytest.mark.parametrize("attack", ["images zeroed", "shifted", "reversed", "cut", "flipped"])
@pytest.mark.parametrize("limit", [None, 10])
def test_a_dataset_shows_the_right_images_after_damage(
    tmp_path: Path, write_folder: Callable[..., Path], attack: str, limit: int | None
) -> None:
    source = f"imagefolder:{write_folder(tmp_path / 'pets', {'cat': 30, 'dog': 30})}"

    def batches() -> torch.Tensor:
        images = load(source, limit=limit)
        splits = (images.train, images.validation, images.test)
        return torch.cat([batch for split in splits for batch, _ in split.batches(64)])

    expected = batches()
    kept = list((tmp_path / ".cache/nas").glob("*.images"))
    assert kept
    for path in kept:
        blob = path.read_bytes()
        path.write_bytes(
            {
                "images zeroed": bytes(len(blob) // 2) + blob[len(blob) // 2 :],
                "shifted": blob[192:] + blob[:192],
                "reversed": blob[::-1],
                "cut": blob[:100],
                "flipped": bytes([blob[0] ^ 1]) + blob[1:],
            }[attack]
        )
    assert torch.equal(batches(), expected)


@pytest.mark.parametrize("place", [0, 1000, -1, -40, -500, "cut", "empty", "other"])
def test_a_set_that_is_unpacked_shows_the_right_images_after_damage(
    tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Callable[..., Path], place: int | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(parquet, "IN_MEMORY_BYTES", 0)
    write_parquet(tmp_path / "pets/train-0.parquet", noise(40), [0, 1] * 20)

    def batches() -> torch.Tensor:
        return torch.cat([batch for batch, _ in images.train.batches(64)])

    images = load(f"parquet:{tmp_path}/pets", resident_bytes=0)
    expected = batches()
    (file,) = (tmp_path / ".cache/nas").glob("*.encoded")
    blob = bytearray(file.read_bytes())
    if isinstance(place, int):
        blob[place] ^= 255
    else:
        blob = {"cut": blob[:3000], "empty": bytearray(), "other": blob[::-1]}[place]
    for again in (False, True):  # damage under a set that is in use, and before one is opened
        file.write_bytes(blob)
        if again:
            images = load(f"parquet:{tmp_path}/pets", resident_bytes=0)
        assert torch.equal(batches(), expected)


def test_an_unpacked_set_keeps_empty_cells_apart(
    tmp_path: Path, noise: Callable[..., np.ndarray], write_parquet: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(parquet, "IN_MEMORY_BYTES", 0)
    file = write_parquet(tmp_path / "pets/train-0.parquet", [*noise(39), None], [0, 1] * 20)
    with pytest.raises(DataError, match=rf"{file}: row 39: no bytes in column 'image'"):
        load(f"parquet:{tmp_path}/pets")


# ----------------------------------------------------------------------------------------------------------------------
# Processes
# ----------------------------------------------------------------------------------------------------------------------
def make(folder: Path) -> torch.Tensor:
    with (folder / "made").open("a") as file:
        file.write("once\n")
    time.sleep(0.3)
    return IMAGES


def test_those_who_want_the_same_images_at_once_wait_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads here: the lock belongs to an open file, and does not care whose it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with ThreadPoolExecutor(3) as threads:
        asked = [
            threads.submit(keep, cache_file("images", ".images"), SHAPE, EVERY, lambda: make(tmp_path))
            for _ in range(3)
        ]
    assert all(torch.equal(one.result().images, IMAGES) for one in asked)
    assert len((tmp_path / "made").read_text().split()) == 1
    assert len(list((tmp_path / "cache" / "nas").iterdir())) == 1, "locks are removed"


SCRIPT = """
import logging, resource, sys, time
from pathlib import Path
import numpy as np, torch
from nas.data import cache
folder, wish = Path(sys.argv[1]), sys.argv[2]

def make():
    with (folder / "made").open("a") as file:
        file.write("once\\n")
    time.sleep(0.5)
    return torch.arange(200_000, dtype=torch.int64).to(torch.uint8).reshape(1000, 200)

def stop(file):
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)

if wish == "stop":
    cache._write = lambda temporary, *rest: stop(temporary.open("wb"))
if wish == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for _ in range(2 if wish == "full" else 1):
    found = cache.keep(folder / "set.images", (1000, 200), np.arange(1000), make).images
    assert torch.equal(found, make()) if wish == "full" else torch.equal(found[1, :3], torch.tensor([200, 201, 202]))
"""


def process(folder: Path, wish: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder), wish], stdout=pipe, stderr=pipe, text=True)


def test_two_processes_decode_once_and_a_kill_in_the_middle_harms_none(tmp_path: Path) -> None:
    killed = process(tmp_path, "stop")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "writing\n"
    waiting = [process(tmp_path, "keep") for _ in range(2)]
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    for one in waiting:
        assert one.communicate() == ("", "")
        assert one.returncode == 0
    assert len((tmp_path / "made").read_text().split()) == 2, "the killed one's, and one for both"
    assert {path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")} == {"made", "set.images"}


def test_on_a_full_disk_images_stay_in_memory_with_one_message(tmp_path: Path) -> None:
    one = process(tmp_path, "full")
    _, errors = one.communicate()
    assert one.returncode == 0, errors
    assert errors.count("decoded images stay in memory") == 1
    assert len(errors.splitlines()) == 1
    assert {path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")} == {"made"}


def test_without_a_place_to_keep_them_images_are_made_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    for _ in range(2):
        found = keep(cache_file("images", ".images"), SHAPE, EVERY, lambda: make(tmp_path))
        assert torch.equal(found.images, IMAGES)
    assert len((tmp_path / "made").read_text().split()) == 2
    assert len(caplog.records) == 1


def test_a_folder_in_the_place_of_the_file_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "some.images").mkdir()
    assert torch.equal(keep(tmp_path / "some.images", SHAPE, EVERY, lambda: IMAGES).images, IMAGES)


def test_a_pipe_in_the_place_of_a_lock_is_gone_without(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".file.lock")
    with locked(tmp_path / "file"):
        pass


@pytest.mark.parametrize("suspended", [True, False])
def test_who_is_suspended_is_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, suspended: bool
) -> None:
    """A job that Slurm has suspended, or Ctrl-Z: it may hold the lock for days."""
    monkeypatch.setattr("nas.cache.PATIENCE", 0.0)
    code = f"""
import sys
from pathlib import Path
from nas.cache import locked
with locked(Path({str(tmp_path / "file")!r})):
    print("taken", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdin and holder.stdout and holder.stdout.readline() == "taken\n"
        if suspended:
            holder.send_signal(signal.SIGSTOP)
        else:
            threading.Timer(0.5, holder.stdin.close).start()
        with locked(tmp_path / "file"):
            assert suspended or holder.wait() == 0, "the lock was taken from one at work"
    finally:
        holder.kill()
        holder.wait()
    said = "is suspended; going on without it" if suspended else "waiting for process"
    assert [record.getMessage() for record in caplog.records if said in record.getMessage()]
    assert any(str(holder.pid) in record.getMessage() for record in caplog.records)
